"""ROS messages as rosidl makes them for Python: as strict, by the definitions of rosbags."""

import array
import types
from typing import ClassVar

from jointspace.data.ros_types import ros_types

PACKAGES = (
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "sensor_msgs",
    "std_msgs",
    "trajectory_msgs",
)

TENSORS = {
    "isaac_ros_tensor_list_interfaces/msg/TensorShape": {
        "rank": "uint32",
        "dims": "sequence<uint32>",
    },
    "isaac_ros_tensor_list_interfaces/msg/Tensor": {
        "name": "string",
        "shape": "isaac_ros_tensor_list_interfaces/TensorShape",
        "data_type": "int32",
        "strides": "sequence<uint64>",
        "data": "sequence<uint8>",
    },
    "isaac_ros_tensor_list_interfaces/msg/TensorList": {
        "header": "std_msgs/Header",
        "tensors": "sequence<isaac_ros_tensor_list_interfaces/Tensor>",
    },
}

_CODES = {
    "double": "d",
    "float": "f",
    "uint8": "B",
    "int8": "b",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
}
_IDL = {"float64": "double", "float32": "float", "bool": "boolean", "byte": "octet"}

_classes = {}


def message_class(type_name):
    """The class of a message, made once."""
    if type_name not in _classes:
        fields = TENSORS.get(type_name) or _fields(type_name)
        name = type_name.rpartition("/")[2]
        _classes[type_name] = type(name, (Message,), {"FIELDS": fields, "TYPE": type_name})
    return _classes[type_name]


def message_modules():
    """Name -> module, of every package with messages."""
    modules = {}
    tensors = "isaac_ros_tensor_list_interfaces"
    known = [*ros_types().types, *TENSORS]
    for package in (*PACKAGES, tensors):
        module = types.ModuleType(f"{package}.msg")
        for type_name in known:
            if type_name.startswith(f"{package}/msg/"):
                setattr(module, type_name.rpartition("/")[2], message_class(type_name))
        modules[package] = types.ModuleType(package)
        modules[f"{package}.msg"] = module
    return modules


class Message:
    """Every field has a default, and takes nothing but its own type."""

    FIELDS: ClassVar[dict] = {}
    TYPE = ""

    def __init__(self, **fields):
        for name, kind in self.FIELDS.items():
            object.__setattr__(self, name, _default(kind))
        for name, value in fields.items():
            setattr(self, name, value)

    def __setattr__(self, name, value):
        assert name in self.FIELDS, f"{self.TYPE} has no field {name}"
        kind = self.FIELDS[name]
        assert _suits(value, kind), f"{self.TYPE}.{name}: {type(value)} is no {kind}"
        object.__setattr__(self, name, value)

    @classmethod
    def get_fields_and_field_types(cls):
        return dict(cls.FIELDS)


def _fields(type_name):
    return {name: _kind(kind) for name, kind in ros_types().fielddefs[type_name][1]}


def _kind(kind):
    node, of = kind
    if node.name == "BASE":
        return _IDL.get(of[0], of[0])
    if node.name == "NAME":
        return of.replace("/msg/", "/")
    element = _kind(of[0])
    return f"sequence<{element}>" if node.name == "SEQUENCE" else f"{element}[{of[1]}]"


def _element(kind):
    return kind.removeprefix("sequence<").removesuffix(">")


def _default(kind):
    if kind.startswith("sequence<"):
        code = _CODES.get(_element(kind))
        return array.array(code) if code else []
    if kind.endswith("]"):
        return [0.0] * int(kind.partition("[")[2][:-1])
    if "/" in kind:
        return message_class(kind.replace("/", "/msg/"))()
    return {"string": "", "double": 0.0, "float": 0.0, "boolean": False, "octet": b"\0"}.get(
        kind, 0
    )


def _suits(value, kind):
    if kind.startswith("sequence<"):
        code = _CODES.get(_element(kind))
        if isinstance(value, array.array):
            return value.typecode == code
        return isinstance(value, list) and all(_suits(each, _element(kind)) for each in value)
    if "/" in kind:
        return isinstance(value, message_class(kind.replace("/", "/msg/")))
    if kind == "octet":
        return isinstance(value, bytes) and len(value) == 1
    wanted = {"string": str, "double": float, "float": float, "boolean": bool}.get(kind, int)
    return type(value) is wanted
