"""The scene as a MuJoCo model: arm, gripper, table, cameras and slots for items.

One model serves all scenes: a reset shows the slots that a layout fills and hides the rest.
"""

from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float64

from jointspace.sim.arm import add_arm
from jointspace.sim.engine import load_mujoco
from jointspace.sim.layout import CONTAINER_KINDS, MAX_BUTTONS, MAX_CONTAINERS, MAX_OBJECTS
from jointspace.sim.props import SOLID, add_button, add_container, add_object

STATE_NAMES = (
    *(f"joint_{number}_rad" for number in range(1, 8)),
    "gripper_opening",
    "tool_x_m",
    "tool_y_m",
    "tool_z_m",
    "tool_rx_rad",
    "tool_ry_rad",
    "tool_rz_rad",
)
ACTION_NAMES = (
    "delta_x_m",
    "delta_y_m",
    "delta_z_m",
    "delta_rx_rad",
    "delta_ry_rad",
    "delta_rz_rad",
    "gripper",
)
CAMERAS = ("front", "wrist")

CONTROL_HZ = 10
"""Actions, states and pictures a second."""

TIMESTEP_S = 0.004
TABLE_MIDDLE_M = (0.38, 0.0)
TABLE_HALF_M = (0.72, 0.68)

FRONT_CAMERA_M = (1.42, 0.0, 0.92)
FRONT_LOOKS_AT_M = (0.44, 0.0, 0.10)
FRONT_FOV_DEGREES = 34.0
KEY_LIGHT = (0.35, -0.45, 1.0)
"""Direction toward the light."""


def build_scene() -> Any:
    """Builds the whole scene.

    Returns:
        The compiled `mujoco.MjModel`.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        InputError: MuJoCo does not start.
    """
    mujoco = load_mujoco()
    spec = _empty_spec(mujoco)
    _add_table(mujoco, spec)
    add_arm(mujoco, spec)
    for index in range(MAX_OBJECTS):
        add_object(mujoco, spec, name=f"object{index}")
    for index in range(MAX_CONTAINERS):
        for kind in CONTAINER_KINDS:
            add_container(mujoco, spec, name=f"container{index}", kind=kind)
    for index in range(MAX_BUTTONS):
        add_button(mujoco, spec, name=f"button{index}")
    return spec.compile()


def build_arm() -> Any:
    """Builds the arm alone, for kinematics that no item disturbs.

    Returns:
        The compiled `mujoco.MjModel`, with the names of `build_scene`.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        InputError: MuJoCo does not start.
    """
    mujoco = load_mujoco()
    spec = _empty_spec(mujoco)
    add_arm(mujoco, spec)
    return spec.compile()


def _front_axes() -> Float64[np.ndarray, "3 3"]:
    """Returns right, up and back of the front camera, as rows."""
    back = np.array(FRONT_CAMERA_M) - np.array(FRONT_LOOKS_AT_M)
    back /= np.linalg.norm(back)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back])


def _empty_spec(mujoco: ModuleType) -> Any:
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.option.iterations = 20
    spec.visual.quality.offsamples = 4
    spec.visual.quality.shadowsize = 1024
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.30, 0.30, 0.30)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    spec.visual.global_.offwidth = 640
    spec.visual.global_.offheight = 640
    spec.visual.map.znear = 0.02
    return spec


def _add_table(mujoco: ModuleType, spec: Any) -> None:
    world = spec.worldbody
    world.add_light(
        name="key",
        pos=(0.6, -0.5, 1.8),
        dir=tuple(-part for part in KEY_LIGHT),
        diffuse=(0.5, 0.5, 0.5),
    )
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(*TABLE_HALF_M, 0.02),
        pos=(*TABLE_MIDDLE_M, -0.02),
        rgba=(0.72, 0.60, 0.45, 1.0),
        friction=(1.0, 0.02, 0.0005),
        condim=4,
        **SOLID,
    )
    right, up, _ = _front_axes()
    world.add_camera(name="front", pos=FRONT_CAMERA_M, xyaxes=(*right, *up), fovy=FRONT_FOV_DEGREES)
