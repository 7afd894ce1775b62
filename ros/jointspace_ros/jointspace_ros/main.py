"""The process: starts the node, waits for a signal, says zero, ends."""

import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from jointspace.robot.dds.loop import interruption
from jointspace_ros.node import JointspaceNode

_NUM_THREADS = 4
"""Pictures, commands and states, control: none of them waits for the others."""

_LOOK_S = 0.2


def main(
    args: Sequence[str] | None = None, *, make_node: Callable[[], JointspaceNode] = JointspaceNode
) -> int:
    """Runs the node until SIGINT or SIGTERM; its last message stands still.

    rclpy's own handlers would shut the network down before anything more could be sent. And Python
    runs no handler while its main thread waits in the middleware: so the executor has a thread of
    its own, and the main one waits for signals.

    Args:
        args: of ROS; those of the process by default.
        make_node: makes the node, once ROS is up.

    Returns:
        0 after a signal; 1 if the node could not start, or fell.
    """
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        with interruption() as interrupted:
            try:
                node = make_node()
            except ParameterException as error:
                sys.stderr.write(f"jointspace_ros: {error}\n")
                return 1
            executor = MultiThreadedExecutor(num_threads=_NUM_THREADS)
            executor.add_node(node)
            # A daemon: a middleware that hangs must not keep the process alive.
            spinning = threading.Thread(target=executor.spin, name="executor", daemon=True)
            try:
                if node.get_parameter("autostart").value and not _start(node):
                    return 1
                spinning.start()
                while not interrupted and spinning.is_alive():
                    interrupted.sleep(_LOOK_S)
                return 0 if interrupted else 1
            finally:
                node.stand_still()
                executor.shutdown(timeout_sec=1.0)
                if spinning.is_alive():
                    spinning.join(1.0)
                node.destroy_node()
    finally:
        rclpy.try_shutdown()


def _start(node: JointspaceNode) -> bool:
    return all(
        transition() == TransitionCallbackReturn.SUCCESS
        for transition in (node.trigger_configure, node.trigger_activate)
    )
