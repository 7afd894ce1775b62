"""ROS parameters: declared from `RobotConfig`, read back as one."""

import math
import sys
from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterUninitializedException
from rclpy.parameter import Parameter as RosParameter

from jointspace.robot.configuration import Parameter, RobotConfig, parameters
from jointspace.robot.configuration_file import robot_config

_TYPES = {
    "bool": RosParameter.Type.BOOL,
    "int": RosParameter.Type.INTEGER,
    "float": RosParameter.Type.DOUBLE,
    "str": RosParameter.Type.STRING,
    "bool[]": RosParameter.Type.BOOL_ARRAY,
    "int[]": RosParameter.Type.INTEGER_ARRAY,
    "float[]": RosParameter.Type.DOUBLE_ARRAY,
    "str[]": RosParameter.Type.STRING_ARRAY,
}
_LARGEST_INT = 2**63 - 1


def declare_parameters(node: Any) -> None:
    """Declares every parameter with its default, description and range.

    Args:
        node: an `rclpy.node.Node`.
    """
    for parameter in parameters():
        default = list(parameter.default) if parameter.kind.endswith("[]") else parameter.default
        # Of an empty list rclpy cannot tell what it is of, and takes it for bytes.
        value = _TYPES[parameter.kind] if default == [] else default
        node.declare_parameter(parameter.name, value, _descriptor(parameter))


def read_config(node: Any) -> RobotConfig:
    """Reads the parameters.

    Args:
        node: that declared them.

    Returns:
        The configuration.

    Raises:
        ConfigError: a value lies outside its range, or values contradict each other.
    """
    values: dict[str, Any] = {}
    for parameter in parameters():
        try:
            value = node.get_parameter(parameter.name).value
        except ParameterUninitializedException:  # an empty list
            value = parameter.default
        values[parameter.name] = list(value) if parameter.kind.endswith("[]") else value
    return robot_config(values, source="parameters")


def refusal(changed: Iterable[Any], *, configured: bool) -> str:
    """Returns why parameters cannot be set; empty if they can.

    Args:
        changed: parameters of rclpy with their new values.
        configured: whether the node works with the values that it has.
    """
    own = {parameter.name: parameter for parameter in parameters()}
    for each in changed:
        if each.name not in own:
            continue
        if configured:
            return f"{each.name}: the node works with it; clean the node up first"
        choices = own[each.name].choices
        if choices and each.value not in choices:
            return f"{each.name}: got '{each.value}', expected one of {', '.join(choices)}"
    return ""


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor()
    descriptor.description = parameter.description
    if parameter.choices:
        descriptor.additional_constraints = f"One of: {', '.join(parameter.choices)}"
    if not (math.isfinite(parameter.low) or math.isfinite(parameter.high)):
        return descriptor
    if parameter.kind.startswith("int"):
        span = IntegerRange()
        span.from_value = int(max(parameter.low, -_LARGEST_INT))
        span.to_value = int(min(parameter.high, _LARGEST_INT))
        span.step = 0
        descriptor.integer_range = [span]
    else:
        limits = FloatingPointRange()
        limits.from_value = float(max(parameter.low, -sys.float_info.max))
        limits.to_value = float(min(parameter.high, sys.float_info.max))
        limits.step = 0.0
        descriptor.floating_point_range = [limits]
    return descriptor
