"""The tabletop world: physics of one scene, the arm's control, and what can be measured."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from jointspace.errors import InputError, did_you_mean
from jointspace.sim.arm import (
    FINGER_TRAVEL_M,
    HOME,
    SHOULDER_HEIGHT_M,
    TOOL_BELOW_WRIST_M,
    WRIST_OFFSET_M,
)
from jointspace.sim.engine import load_mujoco
from jointspace.sim.kinematics import Kinematics, Pose, rotation_matrix, rotation_vector
from jointspace.sim.layout import Item, Layout
from jointspace.sim.props import BUTTON_TRAVEL_M
from jointspace.sim.rays import visible_fraction
from jointspace.sim.render import Renderer, make_renderer
from jointspace.sim.scene import (
    ACTION_NAMES,
    CAMERAS,
    CONTROL_HZ,
    FRONT_CAMERA_M,
    KEY_LIGHT,
    TIMESTEP_S,
    build_scene,
)
from jointspace.sim.slots import Slots

SUBSTEPS = round(1 / (CONTROL_HZ * TIMESTEP_S))
MAX_STEP_M = 0.06
MAX_TURN_RAD = 0.5
WORKSPACE_M = ((0.30, 0.74), (-0.38, 0.38), (0.010, 0.45))
"""Lowest and highest x, y and z of the commanded tool."""

REACH_M = 0.70
"""Farthest that the wrist's joint may be from the shoulder; the arm is stretched at 0.71."""

MAX_TILT_RAD = math.radians(30.0)
MAX_YAW_RAD = math.radians(100.0)
PRESSED_FRACTION = 0.6
"""A button counts as pressed when its cap has sunk by this part of its travel."""

_DOWN = np.diag((1.0, -1.0, -1.0))
_RAMP = 5
"""The servos' targets move from one command to the next in so many parts of a control step."""


class World:
    """A MuJoCo tabletop with a 7-DoF arm; one object serves any number of scenes.

    The base frame stands at the arm's foot on the table: x points away from the robot, y to the
    right as seen in the front camera's picture (it faces the robot), z up. Equal layouts and
    actions give bit-identical results, whatever happened in the world before.

    Attributes:
        cameras: of which pictures are taken.
        time_s: since the reset.
        target_position: of the tool, as commanded so far, in metres.
        target_yaw_rad: turn of the tool about the vertical, as commanded so far.

    Args:
        cameras: of `front` and `wrist`.
        image_px: side of the square pictures.
        renderer: `ray` needs nothing but a processor; `gl` an OpenGL library.
        shadows: whether things cast soft shadows on the table (ray renderer only).
        samples: rays along each side of a pixel at edges: 1 is fastest, 2 smooths them.

    Raises:
        InputError: an unknown camera, a picture without pixels, or no OpenGL library.
        MissingExtraError: MuJoCo is not installed.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[str] = ("front",),
        image_px: int = 96,
        renderer: Literal["ray", "gl"] = "ray",
        shadows: bool = True,
        samples: int = 2,
    ) -> None:
        for camera in cameras:
            if camera not in CAMERAS:
                raise InputError(f"camera '{camera}' is not known.{did_you_mean(camera, CAMERAS)}")
        self.cameras = tuple(cameras)
        self._mujoco = load_mujoco()
        self._model = build_scene()
        self._data = self._mujoco.MjData(self._model)
        self._kinematics = Kinematics()
        self._slots = Slots(self._model)
        self._renderer: Renderer = make_renderer(
            self._model, kind=renderer, image_px=image_px, shadows=shadows, samples=samples
        )
        self._tool = self._model.site("tool").id
        self._front = self._model.camera("front").id
        self.reset(Layout(items=()))

    def reset(self, layout: Layout) -> None:
        """Starts a scene: items in place, the arm above the table, the gripper open.

        Args:
            layout: the scene.
        """
        model, data = self._model, self._data
        self._layout = layout
        self._items = {item.name: item for item in layout.items}
        self._mujoco.mj_resetData(model, data)
        self._slots.fill(layout)
        model.geom("table").rgba[:3] = layout.table_rgb
        model.cam_pos[self._front] = np.array(FRONT_CAMERA_M) + layout.camera_shift_m
        light = np.array(KEY_LIGHT) + layout.light_shift
        model.light_dir[0] = -light / np.linalg.norm(light)
        self._mujoco.mj_setConst(model, data)
        self._mujoco.mj_resetData(model, data)
        self._slots.place(layout, data)

        rough = self._kinematics.tool_pose(np.array(HOME) + layout.home_jitter)
        self.target_position = within_reach(rough.position)
        self._target_turn = rotation_matrix(np.array((0.0, 0.0, _yaw_rad(rough.rotation @ _DOWN))))
        self._joints = self._kinematics.solve(
            self._target_pose(), start_rad=np.array(HOME) + layout.home_jitter, iterations=50
        )
        data.qpos[:7] = self._joints
        data.qpos[7:9] = FINGER_TRAVEL_M
        data.ctrl[:7] = self._joints
        data.ctrl[7] = FINGER_TRAVEL_M
        self.time_s = 0.0
        self._num_steps = 0
        self._mujoco.mj_forward(model, data)

    def step(self, action: Any) -> None:
        """Moves the commanded tool pose, and lets a tenth of a second of physics pass.

        Args:
            action: displacement of the tool in metres, its turn as a rotation vector in radians,
                both in the base frame and clipped to what one step may do, and the gripper: 1
                open, 0 closed. An array or a list.

        Raises:
            InputError: not seven finite numbers.
        """
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (len(ACTION_NAMES),) or not np.isfinite(command).all():
            raise InputError(
                f"action: got {action!r}, expected {len(ACTION_NAMES)} finite numbers: "
                f"{', '.join(ACTION_NAMES)}"
            )
        moved = self.target_position + _shortened(command[:3], MAX_STEP_M)
        self.target_position = within_reach(moved)
        turn = rotation_matrix(_shortened(command[3:6], MAX_TURN_RAD)) @ self._target_turn
        self._target_turn = _within_limits(turn)

        before = self._joints
        self._joints = self._kinematics.solve(self._target_pose(), start_rad=before)
        self._data.ctrl[7] = FINGER_TRAVEL_M * float(np.clip(command[6], 0.0, 1.0))
        for part in range(1, _RAMP + 1):
            self._data.ctrl[:7] = before + (self._joints - before) * (part / _RAMP)
            self._mujoco.mj_step(self._model, self._data, nstep=SUBSTEPS // _RAMP)
        self._num_steps += 1
        self.time_s = self._num_steps / CONTROL_HZ
        self._mujoco.mj_forward(self._model, self._data)

    @property
    def layout(self) -> Layout:
        """The scene as it was at the last reset."""
        return self._layout

    @property
    def items(self) -> tuple[Item, ...]:
        """What stands on the table."""
        return self._layout.items

    @property
    def state(self) -> Float32[np.ndarray, "14"]:
        """Measured joints, gripper opening and tool pose, in the order of `STATE_NAMES`."""
        turn = self._data.site_xmat[self._tool].reshape(3, 3) @ _DOWN
        return np.concatenate(
            [
                self._data.qpos[:7],
                (self.gripper_opening,),
                self.tool_position,
                rotation_vector(turn),
            ]
        ).astype(np.float32)

    @property
    def target_yaw_rad(self) -> float:
        """Turn of the commanded tool about the vertical; 0 where the hand lies along y."""
        return _yaw_rad(self._target_turn)

    @property
    def tool_position(self) -> Float64[np.ndarray, "3"]:
        """Where the point between the finger tips is, in metres."""
        return self._data.site_xpos[self._tool].copy()

    @property
    def gripper_opening(self) -> float:
        """Measured: 1 open, 0 closed; between them with something between the fingers."""
        return float(np.clip(self._data.qpos[7:9].mean() / FINGER_TRAVEL_M, 0.0, 1.0))

    def item(self, name: str) -> Item:
        """Returns the item of a slot.

        Args:
            name: of the slot.

        Raises:
            InputError: the scene leaves this slot empty.
        """
        if name not in self._items:
            raise InputError(f"item '{name}' is not in the scene.{did_you_mean(name, self._items)}")
        return self._items[name]

    def position(self, item: Item) -> Float64[np.ndarray, "3"]:
        """Returns where an item is now, in metres.

        Args:
            item: of the scene.

        Returns:
            The middle of an object; of a container the middle of its floor's upper side; of a
            button the middle of its cap's upper side.
        """
        body = self._slots.body(item)
        return self._data.xpos[body] + (0.0, 0.0, self._slots.surface_m(item))

    def yaw_rad(self, item: Item) -> float:
        """Returns an item's turn about the vertical, in -pi..pi.

        Args:
            item: of the scene.
        """
        return _yaw_rad(self._data.xmat[self._slots.body(item)].reshape(3, 3))

    def rotation(self, item: Item) -> Float64[np.ndarray, "3 3"]:
        """Returns the matrix whose columns are an item's axes in the base frame.

        Args:
            item: of the scene.
        """
        return self._data.xmat[self._slots.body(item)].reshape(3, 3).copy()

    def speed_m_s(self, item: Item) -> float:
        """Returns how fast the middle of an item moves; containers never do.

        Args:
            item: of the scene.
        """
        velocity = np.zeros(6)
        kind = self._mujoco.mjtObj.mjOBJ_XBODY
        self._mujoco.mj_objectVelocity(
            self._model, self._data, kind, self._slots.body(item), velocity, 0
        )
        return float(np.linalg.norm(velocity[3:]))

    def button_pressed(self, item: Item) -> bool:
        """Returns whether a button's cap is down now.

        Args:
            item: a button of the scene.

        Raises:
            InputError: the item is no button.
        """
        if item.kind != "button":
            raise InputError(f"item '{item.name}' is a {item.kind}, expected a button")
        sunk_m = -self._data.joint(f"{item.name}_cap").qpos[0]
        return bool(sunk_m > PRESSED_FRACTION * BUTTON_TRAVEL_M)

    def pictures(self) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
        """Takes a picture with each camera."""
        return {camera: self._renderer.picture(self._data, camera) for camera in self.cameras}

    def visible(self, item: Item, camera: str) -> float:
        """Returns how much of an item a camera sees.

        Args:
            item: of the scene.
            camera: `front` or `wrist`.

        Returns:
            Share of the item's outline in the picture that is neither hidden by another thing nor
            outside the frame: 0..1.
        """
        return visible_fraction(
            self._model, self._data, camera=camera, geoms=self._slots.geoms(item)
        )

    def _target_pose(self) -> Pose:
        return Pose(position=self.target_position, rotation=self._target_turn @ _DOWN)


def within_reach(place_m: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """Returns the place nearest to the wanted one that the upright tool can take.

    Args:
        place_m: wanted place of the tool.

    Returns:
        The place clipped to `WORKSPACE_M`, then drawn in toward the robot's axis to `REACH_M`.
    """
    place = np.clip(place_m, *np.array(WORKSPACE_M).T)
    rise_m = place[2] + TOOL_BELOW_WRIST_M - SHOULDER_HEIGHT_M
    farthest_m = WRIST_OFFSET_M + math.sqrt(REACH_M**2 - rise_m**2)
    place[:2] *= min(1.0, farthest_m / math.hypot(place[0], place[1]))
    return place


def _shortened(vector: Float64[np.ndarray, "3"], longest: float) -> Float64[np.ndarray, "3"]:
    return vector * min(1.0, longest / max(float(np.linalg.norm(vector)), 1e-12))


def _yaw_rad(turn: Float64[np.ndarray, "3 3"]) -> float:
    """The twist about the vertical of a turn; the rest is a tilt about a horizontal axis."""
    return math.atan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])


def _within_limits(turn: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """Clips tilt and yaw of the commanded tool."""
    yaw_rad = _yaw_rad(turn)
    tilt = rotation_vector(turn @ rotation_matrix(np.array((0.0, 0.0, -yaw_rad))))
    yaw = np.array((0.0, 0.0, float(np.clip(yaw_rad, -MAX_YAW_RAD, MAX_YAW_RAD))))
    return rotation_matrix(_shortened(tilt, MAX_TILT_RAD)) @ rotation_matrix(yaw)
