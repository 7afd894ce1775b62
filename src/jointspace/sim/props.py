"""Slots for things on the table: objects that fall and roll, containers, and buttons to press."""

import math
from types import ModuleType
from typing import Any

import numpy as np

from jointspace.sim.layout import BUTTON_HALF_M, CONTAINER_HALF_M
from jointspace.sim.paint import PAINTS

SOLID = {"contype": 1, "conaffinity": 3}
"""What things and table collide with: each other (bit 0) and the gripper (bit 1)."""

BUTTON_TRAVEL_M = 0.012
CAP_TOP_M = 0.016
"""Upper side of a button's cap above the origin of its body."""

CONTAINER_FLOOR_M = 0.008
"""Upper side of a container's floor above the table."""

OBJECT_DENSITY_KG_M3 = 400.0


def add_object(mujoco: ModuleType, spec: Any, *, name: str) -> None:
    """Adds a free body, a box until a layout gives it another shape."""
    body = spec.worldbody.add_body(name=name, pos=(0, 0, -20))
    body.add_freejoint(name=name)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(0.03, 0.03, 0.03),
        density=OBJECT_DENSITY_KG_M3,
        friction=(1.2, 0.03, 0.002),
        condim=4,
        **SOLID,
    )


def add_container(mujoco: ModuleType, spec: Any, *, name: str, kind: str) -> None:
    """Adds one kind of container to a slot; a layout shows one kind of each slot."""
    body = spec.worldbody.add_body(name=f"{name}_{kind}", mocap=True, pos=(0, 0, -20))
    solid = {"friction": (0.8, 0.02, 0.001), **SOLID}
    if kind == "tray":
        size = (CONTAINER_HALF_M, CONTAINER_HALF_M, 0.004)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=(0, 0, 0.004), **solid)
        _add_walls(
            mujoco,
            body,
            number=4,
            radius=CONTAINER_HALF_M - 0.004,
            lean=0.0,
            half=(0.004, 0.008),
            solid=solid,
        )
        return
    radius = CONTAINER_HALF_M - 0.010
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(radius, 0.004, 0), pos=(0, 0, 0.004), **solid
    )
    lean, half = (0.30, (0.004, 0.019)) if kind == "bowl" else (1.15, (0.003, 0.009))
    _add_walls(mujoco, body, number=16, radius=radius, lean=lean, half=half, solid=solid)


def _add_walls(
    mujoco: ModuleType,
    body: Any,
    *,
    number: int,
    radius: float,
    lean: float,
    half: tuple[float, float],
    solid: dict[str, Any],
) -> None:
    """Adds a ring of boxes that lean outward: `half` is their thickness and height, halved."""
    thick, high = half
    for index in range(number):
        angle = 2 * math.pi * index / number
        middle = radius + math.sin(lean) * high
        width = (radius + 2 * math.sin(lean) * high) * math.tan(math.pi / number)
        turn = np.array((math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)))
        tip = np.array((math.cos(lean / 2), 0.0, math.sin(lean / 2), 0.0))
        quat = np.zeros(4)
        mujoco.mju_mulQuat(quat, turn, tip)
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=(thick, width, high),
            pos=(
                middle * math.cos(angle),
                middle * math.sin(angle),
                0.002 + math.cos(lean) * high + math.sin(lean) * thick,
            ),
            quat=quat,
            **solid,
        )


def add_button(mujoco: ModuleType, spec: Any, *, name: str) -> None:
    """Adds a cap that springs up from a dark base."""
    base = spec.worldbody.add_body(name=name, mocap=True, pos=(0, 0, -20))
    base.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=(BUTTON_HALF_M, 0.009, 0),
        pos=(0, 0, 0.009),
        rgba=PAINTS["dark"],
        **SOLID,
    )
    cap = base.add_body(name=f"{name}_cap", pos=(0, 0, 0.018), gravcomp=1)
    cap.add_joint(
        name=f"{name}_cap",
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=(0, 0, 1),
        range=(-BUTTON_TRAVEL_M, 0.0),
        stiffness=250.0,
        springref=0.006,
        damping=3.0,
        armature=0.02,
    )
    cap.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=(BUTTON_HALF_M - 0.010, 0.009, 0),
        pos=(0, 0, 0.007),
        density=400,
        **SOLID,
    )
    spec.add_exclude(bodyname1=name, bodyname2=f"{name}_cap")
