"""The robot node for ROS 2: rclpy around `jointspace.robot`, with no logic of its own."""
