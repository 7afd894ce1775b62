"""The robot over DDS: a node that ROS 2 sees as one of its own, with no ROS installed."""
