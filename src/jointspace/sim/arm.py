"""The arm and its gripper, made of primitives, with the kinematics of a Franka Panda.

Places and turns of the joints are the published Denavit-Hartenberg numbers, and the limits the
published ones.
"""

import math
from types import ModuleType
from typing import Any

import numpy as np

from jointspace.sim.paint import PAINTS

HOME = (0.0, -0.3313, 0.0, -2.2884, 0.0, 1.9571, math.pi / 4)
"""Joint angles from which every episode starts, up to a jitter; the tool points straight down."""

JOINT_LIMITS_RAD = (
    (-2.8973, 2.8973),
    (-1.7628, 1.7628),
    (-2.8973, 2.8973),
    (-3.0718, -0.0698),
    (-2.8973, 2.8973),
    (-0.0175, 3.7525),
    (-2.8973, 2.8973),
)

FINGER_TRAVEL_M = 0.04
TOOL_OFFSET_M = 0.1034
"""From the hand's flange to the point between the finger tips."""

SHOULDER_HEIGHT_M = 0.333
WRIST_OFFSET_M = 0.088
"""From the axis of joint 6 to that of joint 7, sideways."""

TOOL_BELOW_WRIST_M = 0.107 + TOOL_OFFSET_M
"""From the axis of joint 6 down to the tool, where it points straight down."""

WRIST_FOV_DEGREES = 82.0
WRIST_TILT_RAD = 0.19
"""The wrist camera is turned from straight down toward the finger tips by this angle."""

_JOINTS = (  # place of the joint in the link before, its quaternion, gain of its servo
    ((0.0, 0.0, 0.333), (1.0, 0.0, 0.0, 0.0), 4500.0),
    ((0.0, 0.0, 0.0), (1.0, -1.0, 0.0, 0.0), 4500.0),
    ((0.0, -0.316, 0.0), (1.0, 1.0, 0.0, 0.0), 3500.0),
    ((0.0825, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), 3500.0),
    ((-0.0825, 0.384, 0.0), (1.0, -1.0, 0.0, 0.0), 2000.0),
    ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), 2000.0),
    ((0.088, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), 2000.0),
)
_LINKS: tuple[tuple[tuple[str, tuple[float, ...], float, str], ...], ...] = (
    (("capsule", (0, 0, -0.20, 0, 0, -0.05), 0.068, "white"),),
    (
        ("cylinder", (0, 0, -0.075, 0, 0, 0.075), 0.058, "joint"),
        ("capsule", (0, 0, 0, 0, -0.17, 0), 0.066, "white"),
    ),
    (
        ("cylinder", (0, 0, -0.15, 0, 0, -0.125), 0.0625, "joint"),
        ("capsule", (0, 0, -0.13, 0, 0, -0.03), 0.056, "white"),
        ("capsule", (0, 0, -0.02, 0.0825, 0, 0), 0.053, "white"),
    ),
    (
        ("cylinder", (0, 0, -0.066, 0, 0, 0.066), 0.050, "joint"),
        ("capsule", (0, 0, 0, -0.0825, 0.09, 0), 0.056, "white"),
    ),
    (
        ("cylinder", (0, 0, -0.265, 0, 0, -0.243), 0.0535, "joint"),
        ("capsule", (0, 0, -0.24, 0, 0, -0.13), 0.048, "white"),
        ("capsule", (0, 0.0, -0.14, 0, 0.02, -0.01), 0.044, "white"),
    ),
    (
        ("cylinder", (0, 0, -0.054, 0, 0, 0.054), 0.041, "joint"),
        ("capsule", (0, 0, 0, 0.088, 0, 0), 0.0465, "white"),
    ),
    (
        ("cylinder", (0, 0, 0.03, 0, 0, 0.062), 0.042, "white"),
        ("cylinder", (0, 0, 0.062, 0, 0, 0.107), 0.034, "joint"),
    ),
)
_GRIPPER = {"contype": 2, "conaffinity": 1}
_GHOST = {"contype": 0, "conaffinity": 0}


def add_arm(mujoco: ModuleType, spec: Any) -> None:
    """Adds the arm at the origin of a specification: bodies, joints, servos and wrist camera."""
    body = spec.worldbody.add_body(name="link0")
    feet: tuple[tuple[tuple[float, ...], float, str], ...] = (
        ((0, 0, 0, 0, 0, 0.03), 0.10, "joint"),
        ((0, 0, 0.03, 0, 0, 0.14), 0.066, "white"),
    )
    for ends, radius, paint in feet:
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            fromto=ends,
            size=(radius, 0, 0),
            rgba=PAINTS[paint],
            **_GHOST,
        )
    for number, (place, turn, gain) in enumerate(_JOINTS, start=1):
        quat = np.array(turn) / np.linalg.norm(turn)
        body = body.add_body(name=f"link{number}", pos=place, quat=quat, gravcomp=1)
        body.add_joint(
            name=f"joint{number}",
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=(0, 0, 1),
            range=JOINT_LIMITS_RAD[number - 1],
            armature=0.1,
            damping=1,
        )
        for shape, ends, radius, paint in _LINKS[number - 1]:
            body.add_geom(
                type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}"),
                fromto=ends,
                size=(radius, 0, 0),
                rgba=PAINTS[paint],
                density=800,
                **_GHOST,
            )
        servo = spec.add_actuator(
            name=f"servo{number}", target=f"joint{number}", trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        servo.set_to_position(kp=gain, kv=gain / 10)
        servo.ctrlrange = JOINT_LIMITS_RAD[number - 1]
        servo.ctrllimited = True
    _add_gripper(mujoco, spec, body)


def _add_gripper(mujoco: ModuleType, spec: Any, flange: Any) -> None:
    eighth = math.pi / 8
    hand = flange.add_body(
        name="hand", pos=(0, 0, 0.107), quat=(math.cos(eighth), 0, 0, -math.sin(eighth)), gravcomp=1
    )
    box = mujoco.mjtGeom.mjGEOM_BOX
    for size, height, paint in (
        ((0.026, 0.098, 0.018), 0.020, "hand"),
        ((0.021, 0.090, 0.010), 0.046, "joint"),
    ):
        hand.add_geom(
            type=box, size=size, pos=(0, 0, height), rgba=PAINTS[paint], density=500, **_GRIPPER
        )
    hand.add_site(name="tool", pos=(0, 0, TOOL_OFFSET_M), size=(0.005, 0.005, 0.005), group=4)
    hand.add_camera(
        name="wrist",
        pos=(0.095, 0, 0.0),
        xyaxes=(0, -1, 0, -math.cos(WRIST_TILT_RAD), 0, -math.sin(WRIST_TILT_RAD)),
        fovy=WRIST_FOV_DEGREES,
    )
    for name, side in (("left", 1), ("right", -1)):
        finger = hand.add_body(name=f"{name}_finger", pos=(0, 0, 0.0584), gravcomp=1)
        finger.add_joint(
            name=f"{name}_finger",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0, side, 0),
            range=(0, FINGER_TRAVEL_M),
            armature=0.1,
            damping=5,
        )
        finger.add_geom(
            type=box,
            size=(0.012, 0.007, 0.028),
            pos=(0, side * 0.007, 0.022),
            rgba=PAINTS["finger"],
            friction=(2.0, 0.05, 0.001),
            condim=4,
            density=500,
            solref=(0.01, 1.0),
            **_GRIPPER,
        )
    tie = spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        name1="left_finger",
        name2="right_finger",
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
    )
    tie.data[:5] = (0, 1, 0, 0, 0)
    grip = spec.add_actuator(name="grip", target="left_finger", trntype=mujoco.mjtTrn.mjTRN_JOINT)
    grip.set_to_position(kp=400, kv=40)
    grip.ctrlrange = (0, FINGER_TRAVEL_M)
    grip.ctrllimited = True
    grip.forcerange = (-30, 30)
    grip.forcelimited = True
