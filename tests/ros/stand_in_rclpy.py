"""As much of rclpy (Jazzy) as the node uses, in one process: `install()` puts it in its place.

A test plays the network and the executor: `NETWORK.publish`, `node.fire_timers`. `Executor.spin`
fires the timers of its nodes at their rates, for the test of the whole process.
"""

import enum
import threading
import time
import types
from typing import ClassVar

from tests.ros.stand_in_messages import Message, message_modules


class Network:
    """What was published, and who hears it."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.said = []
        self.subscriptions = []
        self.publishers = []
        self.on_said = None
        self.is_down = False

    def publish(self, topic, message):
        """Hands a message to the subscriptions of its topic, as the executor would."""
        heard = [each for each in self.subscriptions if each.topic_name == topic]
        assert heard, f"nobody hears {topic}"
        for each in heard:
            assert isinstance(message, each.msg_type)
            each.callback(message)

    def on(self, topic):
        """The messages that were published on a topic."""
        return [message for name, message in self.said if name == topic]


NETWORK = Network()


class TransitionCallbackReturn(enum.Enum):
    SUCCESS = 0
    FAILURE = 1
    ERROR = 2


class SignalHandlerOptions(enum.Enum):
    ALL = 0
    NO = 1


class ClockType(enum.IntEnum):
    ROS_TIME = 1
    SYSTEM_TIME = 2
    STEADY_TIME = 3


class Clock:
    def __init__(self, *, clock_type=ClockType.SYSTEM_TIME):
        self.clock_type = clock_type

    def now(self):
        return types.SimpleNamespace(nanoseconds=time.time_ns())


class Duration:
    def __init__(self, *, seconds=0, nanoseconds=0):
        self.nanoseconds = int(seconds * 1e9) + nanoseconds


class QoSProfile:
    def __init__(self, *, history, depth, reliability, durability):
        self.history, self.depth = history, depth
        self.reliability, self.durability = reliability, durability


class QoSPresetProfiles(enum.Enum):
    DEFAULT = QoSProfile(history=1, depth=10, reliability=1, durability=2)
    SYSTEM_DEFAULT = QoSProfile(history=0, depth=0, reliability=0, durability=0)
    SENSOR_DATA = QoSProfile(history=1, depth=5, reliability=2, durability=2)


class MutuallyExclusiveCallbackGroup:
    pass


class SubscriptionEventCallbacks:
    def __init__(self, *, incompatible_qos=None):
        self.incompatible_qos = incompatible_qos


class ParameterException(Exception):  # noqa: N818 - its name in rclpy
    pass


class InvalidParameterTypeException(ParameterException):
    pass


class ParameterUninitializedException(ParameterException):
    pass


class Parameter:
    class Type(enum.IntEnum):
        NOT_SET = 0
        BOOL = 1
        INTEGER = 2
        DOUBLE = 3
        STRING = 4
        BYTE_ARRAY = 5
        BOOL_ARRAY = 6
        INTEGER_ARRAY = 7
        DOUBLE_ARRAY = 8
        STRING_ARRAY = 9

        @classmethod
        def from_parameter_value(cls, value):
            if value is None:
                return cls.NOT_SET
            for kind, name in (
                (bool, "BOOL"),
                (int, "INTEGER"),
                (float, "DOUBLE"),
                (str, "STRING"),
            ):
                if isinstance(value, kind):
                    return cls[name]
            for kind, name in (
                (bytes, "BYTE_ARRAY"),  # an empty list is taken for one, as in rclpy
                (bool, "BOOL_ARRAY"),
                (int, "INTEGER_ARRAY"),
                (float, "DOUBLE_ARRAY"),
                (str, "STRING_ARRAY"),
            ):
                if isinstance(value, list | tuple) and all(isinstance(v, kind) for v in value):
                    return cls[name]
            raise TypeError(value)

    def __init__(self, name, value=None):
        self.name, self.value = name, value
        self.type_ = Parameter.Type.from_parameter_value(value)


class _Descriptor:
    def __init__(self):
        self.name = self.description = self.additional_constraints = ""
        self.floating_point_range, self.integer_range = [], []
        self.type, self.read_only, self.dynamic_typing = 0, False, False


class _Range:
    def __init__(self):
        self.from_value = self.to_value = self.step = None


class _SetParametersResult:
    def __init__(self):
        self.successful, self.reason = False, ""


class _Logger:
    def __init__(self):
        self.lines = []

    def _log(self, line):
        self.lines.append(line)

    info = warning = error = _log


class _Publisher:
    def __init__(self, msg_type, topic, qos):
        self.msg_type, self.topic_name, self.qos = msg_type, topic, qos

    def publish(self, message):
        if NETWORK.is_down:
            raise RuntimeError("publisher's context is invalid")
        assert type(message) is self.msg_type
        NETWORK.said.append((self.topic_name, message))
        if NETWORK.on_said is not None:
            NETWORK.on_said(self.topic_name, message)

    def get_subscription_count(self):
        return 1

    def wait_for_all_acked(self, timeout):
        assert isinstance(timeout, Duration)
        return True


class _Subscription:
    def __init__(self, msg_type, topic, callback, *, qos, group, events):
        self.msg_type, self.topic_name, self.callback = msg_type, topic, callback
        self.qos, self.callback_group, self.events = qos, group, events


class _Timer:
    def __init__(self, period_s, callback, clock, group):
        self.period_s, self.callback, self.clock, self.callback_group = (
            period_s,
            callback,
            clock,
            group,
        )
        self.due_s = time.monotonic() + period_s


class Node:
    """Of rclpy.node.Node and LifecycleNode what is used."""

    overrides: ClassVar[dict] = {}

    def __init__(self, node_name, *, namespace=""):
        assert isinstance(node_name, str)
        self.node_name, self.namespace = node_name, namespace
        self.state = "unconfigured"
        self.timers, self.parameters, self.descriptors, self.checks = [], {}, {}, []
        self.logger, self.destroyed = _Logger(), False

    # Names, logs, clocks
    def get_fully_qualified_name(self):
        return f"{self.namespace}/{self.node_name}"

    def get_logger(self):
        return self.logger

    def get_clock(self):
        return Clock(clock_type=ClockType.ROS_TIME)

    # Parameters
    def declare_parameter(self, name, value, descriptor):
        if isinstance(value, Parameter.Type):
            descriptor.type, value = value.value, None
        else:
            descriptor.type = Parameter.Type.from_parameter_value(value).value
        parameter = Parameter(name, self.overrides.get(name, value))
        if parameter.type_ not in {descriptor.type, Parameter.Type.NOT_SET}:
            raise InvalidParameterTypeException(name)
        self.parameters[name], self.descriptors[name] = parameter, descriptor
        return parameter

    def get_parameter(self, name):
        if self.parameters[name].type_ == Parameter.Type.NOT_SET:
            raise ParameterUninitializedException(name)
        return self.parameters[name]

    def add_on_set_parameters_callback(self, callback):
        self.checks.append(callback)

    def set_parameters(self, changed):
        result = self.checks[0](changed)
        assert isinstance(result, _SetParametersResult)
        if result.successful:
            self.parameters.update({each.name: each for each in changed})
        return result

    # Topics and timers
    def create_publisher(self, msg_type, topic, qos_profile):
        assert issubclass(msg_type, Message)
        assert isinstance(qos_profile, QoSProfile)
        NETWORK.publishers.append(_Publisher(msg_type, self._full(topic), qos_profile))
        return NETWORK.publishers[-1]

    def create_subscription(
        self, msg_type, topic, callback, qos_profile, *, callback_group, event_callbacks
    ):
        assert isinstance(qos_profile, QoSProfile)
        NETWORK.subscriptions.append(
            _Subscription(
                msg_type,
                self._full(topic),
                callback,
                qos=qos_profile,
                group=callback_group,
                events=event_callbacks,
            )
        )
        return NETWORK.subscriptions[-1]

    def create_timer(self, timer_period_sec, callback, callback_group=None, clock=None):
        self.timers.append(_Timer(timer_period_sec, callback, clock, callback_group))
        return self.timers[-1]

    def destroy_timer(self, timer):
        self.timers.remove(timer)

    def destroy_publisher(self, publisher):
        NETWORK.publishers.remove(publisher)

    def destroy_subscription(self, subscription):
        NETWORK.subscriptions.remove(subscription)

    def destroy_node(self):
        self.destroyed = True

    def count_publishers(self, topic):
        return 1

    def fire_timers(self):
        """Calls every timer once."""
        for timer in list(self.timers):
            timer.callback()

    def _full(self, topic):
        if topic.startswith("~/"):
            return f"{self.get_fully_qualified_name()}{topic[1:]}"
        return topic if topic.startswith("/") else f"{self.namespace}/{topic}"

    # Lifecycle
    def on_configure(self, state):
        return TransitionCallbackReturn.SUCCESS

    on_activate = on_deactivate = on_cleanup = on_shutdown = on_error = on_configure

    def _change(self, callback, before, after):
        assert self.state == before, f"{callback.__name__} in state {self.state}"
        try:
            result = callback(types.SimpleNamespace(label=before))
        except Exception:  # noqa: BLE001 - as rclpy does, and says nothing
            result = TransitionCallbackReturn.ERROR
        assert isinstance(result, TransitionCallbackReturn)
        if result is TransitionCallbackReturn.ERROR:
            self.on_error(types.SimpleNamespace(label=before))
            self.state = "unconfigured"
        elif result is TransitionCallbackReturn.SUCCESS:
            self.state = after
        return result

    def trigger_configure(self):
        return self._change(self.on_configure, "unconfigured", "inactive")

    def trigger_activate(self):
        return self._change(self.on_activate, "inactive", "active")

    def trigger_deactivate(self):
        return self._change(self.on_deactivate, "active", "inactive")

    def trigger_cleanup(self):
        return self._change(self.on_cleanup, "inactive", "unconfigured")

    def trigger_shutdown(self):
        return self._change(self.on_shutdown, self.state, "finalized")


class MultiThreadedExecutor:
    def __init__(self, num_threads=None):
        assert num_threads > 1
        self.nodes, self._over = [], threading.Event()

    def add_node(self, node):
        self.nodes.append(node)

    def spin(self):
        while not self._over.wait(0.005):
            now_s = time.monotonic()
            for timer in [timer for node in self.nodes for timer in list(node.timers)]:
                if now_s >= timer.due_s:
                    timer.due_s = now_s + timer.period_s
                    timer.callback()

    def shutdown(self, timeout_sec=None):
        self._over.set()
        return True


def _init(*, args=None, signal_handler_options=None):
    # rclpy's own handlers take the network away before anything can be sent.
    assert signal_handler_options is SignalHandlerOptions.NO
    NETWORK.is_down = False


def _try_shutdown():
    NETWORK.is_down = True


def modules():
    """Name -> module, all that the node imports of ROS."""
    contents = {
        "rclpy": {"init": _init, "try_shutdown": _try_shutdown},
        "rclpy.callback_groups": {"MutuallyExclusiveCallbackGroup": MutuallyExclusiveCallbackGroup},
        "rclpy.clock": {"Clock": Clock, "ClockType": ClockType},
        "rclpy.duration": {"Duration": Duration},
        "rclpy.event_handler": {"SubscriptionEventCallbacks": SubscriptionEventCallbacks},
        "rclpy.exceptions": {
            "ParameterException": ParameterException,
            "ParameterUninitializedException": ParameterUninitializedException,
        },
        "rclpy.executors": {"MultiThreadedExecutor": MultiThreadedExecutor},
        "rclpy.lifecycle": {
            "LifecycleNode": Node,
            "LifecycleState": object,
            "TransitionCallbackReturn": TransitionCallbackReturn,
        },
        "rclpy.parameter": {"Parameter": Parameter},
        "rclpy.qos": {"QoSPresetProfiles": QoSPresetProfiles, "QoSProfile": QoSProfile},
        "rclpy.signals": {"SignalHandlerOptions": SignalHandlerOptions},
        "rcl_interfaces": {},
        "rcl_interfaces.msg": {
            "FloatingPointRange": _Range,
            "IntegerRange": _Range,
            "ParameterDescriptor": _Descriptor,
            "SetParametersResult": _SetParametersResult,
        },
    }
    made = message_modules()
    for name, content in contents.items():
        made[name] = types.ModuleType(name)
        vars(made[name]).update(content)
    return made
