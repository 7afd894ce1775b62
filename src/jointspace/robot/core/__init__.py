"""The robot's decisions, without ROS and without torch: everything that must be right is here.

The shells (DDS, ROS 2, bags) bring messages in and carry decisions out; they decide nothing.
"""
