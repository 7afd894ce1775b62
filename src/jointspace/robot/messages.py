"""What the robot says, as ROS messages; made by whichever ROS is there.

Every function takes `make`, which returns a message of a type from its fields:
`make("std_msgs/msg/String", data="stop")`. Over DDS it is `robot.dds.types.message`; under rclpy it
looks up the class. So both say the same in the same words.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from jointspace.errors import InputError, did_you_mean
from jointspace.robot.core.twist import twist_numbers

Make = Callable[..., Any]

SIMILARITY_TOPIC = "~/similarity"
BEST_INSTRUCTION_TOPIC = "~/best_instruction"

TENSOR_LIST = "isaac_ros_tensor_list_interfaces/msg/TensorList"

_TENSOR_FLOAT32 = 9
_NS_PER_S = 1_000_000_000


def time(make: Make, time_ns: int) -> Any:
    """Returns a time as a message.

    Args:
        make: see above.
        time_ns: nanoseconds since the epoch.
    """
    seconds, nanoseconds = divmod(time_ns, _NS_PER_S)
    return make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)


def time_ns(stamp: Any) -> int:
    """Returns a message's time in nanoseconds since the epoch."""
    return int(stamp.sec) * _NS_PER_S + int(stamp.nanosec)


def header(make: Make, *, time_ns: int, frame_id: str) -> Any:
    """Returns a header.

    Args:
        make: see above.
        time_ns: nanoseconds since the epoch.
        frame_id: the frame of coordinates that the message is in.
    """
    return make("std_msgs/msg/Header", stamp=time(make, time_ns), frame_id=frame_id)


def twist(
    make: Make,
    names: Sequence[str],
    values: Float64[np.ndarray, " channel"],
    *,
    stamped: Any = None,
) -> Any:
    """Returns velocities as a Twist, or as a TwistStamped.

    Args:
        make: see above.
        names: what each value is, of `TWIST_CHANNELS`; what is not named is 0.
        values: in m/s and rad/s.
        stamped: the header of a TwistStamped; without one it is a Twist.
    """
    numbers = twist_numbers(names, values)
    linear, angular = (
        make("geometry_msgs/msg/Vector3", **dict(zip("xyz", part, strict=True)))
        for part in (numbers[:3], numbers[3:])
    )
    plain = make("geometry_msgs/msg/Twist", linear=linear, angular=angular)
    if stamped is None:
        return plain
    return make("geometry_msgs/msg/TwistStamped", header=stamped, twist=plain)


def joint_positions(message: Any, names: Sequence[str]) -> Float64[np.ndarray, " joint"]:
    """Returns the positions of a `sensor_msgs/JointState`.

    Args:
        message: a publisher may name its joints in any order, and others among them.
        names: of the joints, in the order wanted; empty: as the message has them.

    Raises:
        InputError: a joint is missing, or there are not as many positions as names.
    """
    positions = np.asarray(message.position, dtype=np.float64)
    if not names:
        return positions
    place = {name: i for i, name in enumerate(message.name)}
    missing = [name for name in names if place.get(name, len(positions)) >= len(positions)]
    if missing:
        raise InputError(
            f"joint state: no position of '{missing[0]}', expected all of state_names."
            f"{did_you_mean(missing[0], place)}"
        )
    return positions[[place[name] for name in names]]


def tensor_row(message: Any, name: str) -> Float32[np.ndarray, " dim"]:
    """Returns the embedding that a TensorList of Isaac ROS carries.

    Args:
        message: of type `isaac_ros_tensor_list_interfaces/msg/TensorList`.
        name: of the tensor.

    Raises:
        InputError: it has no such tensor, or the tensor is not one row of float32.
    """
    by_name = {tensor.name: tensor for tensor in message.tensors}
    if name not in by_name:
        raise InputError(f"tensor list: no tensor '{name}'.{did_you_mean(name, by_name)}")
    tensor = by_name[name]
    if tensor.data_type != _TENSOR_FLOAT32:
        raise InputError(
            f"tensor '{name}': got data type {tensor.data_type}, expected {_TENSOR_FLOAT32}, "
            "which is float32"
        )
    row = np.frombuffer(bytes(tensor.data), dtype="<f4")
    sizes = [int(size) for size in tensor.shape.dims]
    if int(np.prod(sizes)) != row.size or max(sizes, default=0) != row.size:
        raise InputError(
            f"tensor '{name}': got {row.size} numbers in shape {sizes}, expected one row: [1, dim]"
        )
    return row.astype(np.float32)


def joint_trajectory(
    make: Make,
    names: Sequence[str],
    positions: Float64[np.ndarray, " joint"],
    *,
    reach_ns: int,
    header: Any,
) -> Any:
    """Returns a set-point of an arm: a trajectory of one point.

    Args:
        make: see above.
        names: of the joints.
        positions: where they are to be.
        reach_ns: after how many nanoseconds.
        header: a stamp of 0 means "from now on".
    """
    nothing = np.empty(0)
    seconds, nanoseconds = divmod(reach_ns, _NS_PER_S)
    point = make(
        "trajectory_msgs/msg/JointTrajectoryPoint",
        positions=positions,
        velocities=nothing,
        accelerations=nothing,
        effort=nothing,
        time_from_start=make("builtin_interfaces/msg/Duration", sec=seconds, nanosec=nanoseconds),
    )
    return make(
        "trajectory_msgs/msg/JointTrajectory",
        header=header,
        joint_names=list(names),
        points=[point],
    )


def number_array(make: Make, names: Sequence[str], values: Float64[np.ndarray, " channel"]) -> Any:
    """Returns a control vector as a Float64MultiArray, labelled with the channels' names.

    Args:
        make: see above.
        names: of the channels.
        values: in their order, as controllers of `ros2_control` read them.
    """
    layout = _layout(make, {",".join(names): len(values)})
    return make("std_msgs/msg/Float64MultiArray", layout=layout, data=values)


def embedding(
    make: Make, row: Float32[np.ndarray, " dim"], *, model_id: str, modality: str, source: Any
) -> Any:
    """Returns a unit row of the joint space as a Float32MultiArray.

    Of the standard messages it alone holds float32 numbers and text, and every ROS has it. Axes of
    one element say what it is of, in the order of the arguments, as `name=value`; the last axis is
    the row.

    Args:
        make: see above.
        row: the embedding.
        model_id: of the bundle.
        modality: `vision`, `text`, ...
        source: the header of the message that was embedded, whose stamp and frame are kept; None
            where there was none, as of a command.
    """
    axes = {f"model={model_id}": 1, f"modality={modality}": 1}
    if source is not None:
        stamp = source.stamp
        axes |= {f"stamp={stamp.sec}.{stamp.nanosec:09d}": 1, f"frame_id={source.frame_id}": 1}
    layout = _layout(make, axes | {"embedding": len(row)})
    return make("std_msgs/msg/Float32MultiArray", layout=layout, data=row)


def diagnostics(
    make: Make, *, header: Any, name: str, level: int, summary: str, values: Mapping[str, str]
) -> Any:
    """Returns how a node is, for `/diagnostics`.

    Args:
        make: see above.
        header: when it was so.
        name: of the node.
        level: 0 fine, 1 warning, 2 error, 3 stale.
        summary: in a sentence.
        values: in numbers.
    """
    pairs = [make("diagnostic_msgs/msg/KeyValue", key=k, value=v) for k, v in values.items()]
    status = make(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=level,
        name=name,
        message=summary,
        hardware_id="",
        values=pairs,
    )
    return make("diagnostic_msgs/msg/DiagnosticArray", header=header, status=[status])


def _layout(make: Make, axes: Mapping[str, int]) -> Any:
    sizes = list(axes.values())
    strides = [int(np.prod(sizes[i:])) for i in range(len(sizes))]
    dims = [
        make("std_msgs/msg/MultiArrayDimension", label=label, size=size, stride=stride)
        for (label, size), stride in zip(axes.items(), strides, strict=True)
    ]
    return make("std_msgs/msg/MultiArrayLayout", dim=dims, data_offset=0)
