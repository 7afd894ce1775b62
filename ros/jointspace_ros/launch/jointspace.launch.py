"""Starts the node: `ros2 launch jointspace_ros jointspace.launch.py bundle:=DIR`."""  # noqa: INP001

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

PACKAGE = "jointspace_ros"


def generate_launch_description() -> LaunchDescription:
    """Returns what is started."""
    defaults = PathJoinSubstitution([FindPackageShare(PACKAGE), "config", "params.yaml"])
    bundle = LaunchConfiguration("bundle")
    return LaunchDescription(
        [
            DeclareLaunchArgument("bundle", description="Folder of the exported bundle."),
            DeclareLaunchArgument(
                "params_file", default_value=defaults, description="Parameters of the node."
            ),
            DeclareLaunchArgument("name", default_value="jointspace", description="Of the node."),
            DeclareLaunchArgument("namespace", default_value="", description="Of the node."),
            DeclareLaunchArgument(
                "image",
                default_value="camera/image_rect_color",
                description="Topic of the camera's pictures.",
            ),
            Node(
                package=PACKAGE,
                executable="jointspace_node",
                name=LaunchConfiguration("name"),
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[LaunchConfiguration("params_file"), {"bundle": bundle}],
                remappings=[("camera/image_rect_color", LaunchConfiguration("image"))],
            ),
        ]
    )
