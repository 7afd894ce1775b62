"""The lifecycle node: what each transition starts and ends; what the robot does is not here."""

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from jointspace.errors import JointspaceError
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.safety import Decision, State
from jointspace.robot.core.worker import PerceptionWorker
from jointspace.robot.shell import RobotShell
from jointspace_ros.bundle import LoadedRobot, load_robot
from jointspace_ros.parameters import declare_parameters, read_config, refusal
from jointspace_ros.wire import RclpyWire


class JointspaceNode(LifecycleNode):
    """A robot with a bundle.

    *configure* reads the parameters, loads the bundle and makes the topics; *activate* starts to
    perceive and to control; *deactivate* says zero last of all; *cleanup* gives everything back.

    Args:
        name: of the node.
        load: makes the robot of a configuration.
        options: of `rclpy.node.Node`.
    """

    def __init__(
        self,
        name: str = "jointspace",
        *,
        load: Callable[[RobotConfig], LoadedRobot] = load_robot,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self._load = load
        self._wire: RclpyWire | None = None
        self._shell: RobotShell | None = None
        self._worker: PerceptionWorker | None = None
        self._running_timers: list[Any] = []
        self._told_state: State | None = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the bundle and makes the topics; silent until it is activated."""
        try:
            config = read_config(self)
            robot = self._load(config)
            robot.runtime.shutdown()
            self._wire = RclpyWire(self)
            self._shell = RobotShell(
                self._wire, robot.runtime, model_id=robot.model_id, on_decision=self._log_state
            )
        except Exception as error:  # noqa: BLE001 - rclpy would say that a transition failed, and not why
            cause = str(error) if isinstance(error, JointspaceError) else repr(error)
            self.get_logger().error(f"cannot be configured: {cause}")
            self._release()
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the thread of perception and the two timers."""
        shell = self._shell
        if shell is None:
            return TransitionCallbackReturn.FAILURE
        shell.runtime.activate()
        self._worker = PerceptionWorker(shell.runtime, on_percept=shell.tell_percept)
        self._worker.start()
        config = shell.runtime.config
        self._every(1 / config.control_rate_hz, shell.step)
        self._every(1 / config.diagnostics_rate_hz, shell.tell_diagnostics)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stands still."""
        self.stand_still()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Takes the topics off the network, and forgets the bundle."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stands still, whatever the node was doing."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stands still, and can be configured again."""
        self._release()
        return super().on_error(state)

    def stand_still(self) -> None:
        """Says zero as the last message of all, and ends perception; may be called again."""
        for timer in self._running_timers:
            self.destroy_timer(timer)
        self._running_timers.clear()
        worker, self._worker = self._worker, None
        if self._shell is not None and worker is not None:
            # First the zero: the network may be at a picture.
            self._shell.end()
            worker.stop()

    def _every(self, period_s: float, call: Callable[[float], object]) -> None:
        """Calls at a rate of a steady clock, which goes on when a simulation stops its own."""
        shell, wire = self._shell, self._wire

        def tick() -> None:
            if shell is None or wire is None:
                return
            try:
                call(wire.steady_s())
            except Exception as error:  # noqa: BLE001 - it would end the executor, and the robot drive on
                self.get_logger().error(f"{type(error).__name__}: {error}")
                shell.runtime.on_fault(str(error))

        clock = Clock(clock_type=ClockType.STEADY_TIME)
        group = MutuallyExclusiveCallbackGroup()
        timer = self.create_timer(period_s, tick, callback_group=group, clock=clock)
        self._running_timers.append(timer)

    def _release(self) -> None:
        self.stand_still()
        if self._wire is not None:
            self._wire.close()
        self._wire = self._shell = None

    def _check_parameters(self, changed: list[Any]) -> SetParametersResult:
        """Refuses unknown choices, and any change while the node runs with what it was set to.

        Values that depend on each other are set one by one: `on_configure` judges them together.
        """
        result = SetParametersResult()
        result.reason = refusal(changed, configured=self._shell is not None)
        result.successful = not result.reason
        return result

    def _log_state(self, _now_s: float, decision: Decision) -> None:
        if decision.state is not self._told_state:
            self._told_state = decision.state
            self.get_logger().info(f"{decision.state}: {decision.reason}")
