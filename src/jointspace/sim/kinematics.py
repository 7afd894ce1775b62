"""Kinematics of the arm: where the tool is, and which joint angles bring it to a pose."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from jointspace.sim.arm import HOME, JOINT_LIMITS_RAD
from jointspace.sim.engine import load_mujoco
from jointspace.sim.scene import build_arm

_DAMPING = 1e-5
_MAX_STEP_RAD = 0.3
_HOME_PULL = 0.15
_ROTATION_M = 0.5
"""Metres that count as much as one radian."""


@dataclass(frozen=True)
class Pose:
    """Where the tool is and how it is turned, in the robot's frame.

    Attributes:
        position: of the point between the finger tips, in metres.
        rotation: columns are the tool's axes; the third points out of the gripper.
    """

    position: Float64[np.ndarray, "3"]
    rotation: Float64[np.ndarray, "3 3"]


class Kinematics:
    """Forward and inverse kinematics of the arm alone.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        InputError: MuJoCo does not start.
    """

    def __init__(self) -> None:
        self._mujoco = load_mujoco()
        self._model = build_arm()
        self._data = self._mujoco.MjData(self._model)
        self._tool = self._model.site("tool").id
        self._lower, self._upper = np.array(JOINT_LIMITS_RAD).T
        self._home = np.array(HOME)
        self._linear = np.zeros((3, self._model.nv))
        self._angular = np.zeros((3, self._model.nv))

    def tool_pose(self, joints_rad: Float64[np.ndarray, "7"]) -> Pose:
        """Returns the pose of the tool at seven joint angles."""
        self._place(joints_rad)
        return Pose(
            position=self._data.site_xpos[self._tool].copy(),
            rotation=self._data.site_xmat[self._tool].reshape(3, 3).copy(),
        )

    def jacobian(self, joints_rad: Float64[np.ndarray, "7"]) -> Float64[np.ndarray, "6 7"]:
        """Returns metres and radians of the tool per radian of each joint, in the robot's frame."""
        self._place(joints_rad)
        self._mujoco.mj_comPos(self._model, self._data)
        self._mujoco.mj_jacSite(self._model, self._data, self._linear, self._angular, self._tool)
        return np.concatenate([self._linear[:, :7], self._angular[:, :7]])

    def solve(
        self,
        target: Pose,
        *,
        start_rad: Float64[np.ndarray, "7"],
        iterations: int = 20,
        tolerance_m: float = 2e-5,
    ) -> Float64[np.ndarray, "7"]:
        """Finds joint angles for a pose by damped least squares.

        The first iterations also pull the arm toward the home pose within its null space, so that
        the elbow does not wander; the last ones serve the target alone.

        Args:
            target: where the tool is to be.
            start_rad: where the search starts; the answer lies near it.
            iterations: at most so many.
            tolerance_m: error at which the search stops; a radian counts as half a metre.

        Returns:
            Joint angles within the limits; as near to the target as the search came.

        Source:
            Y. Nakamura and H. Hanafusa, Inverse kinematic solutions with singularity robustness
            for robot manipulator control, 1986; the damping is constant here.
        """
        joints = np.array(start_rad, dtype=np.float64)
        weights = np.array([1.0, 1.0, 1.0, _ROTATION_M, _ROTATION_M, _ROTATION_M])
        for iteration in range(iterations):
            jacobian = self.jacobian(joints) * weights[:, None]
            error = weights * self._error(target)
            pull = _HOME_PULL * (self._home - joints) if iteration < 2 else np.zeros(7)
            if iteration > 0 and np.abs(error).max() < tolerance_m:
                break
            square = jacobian @ jacobian.T + _DAMPING * np.eye(6)
            step = pull + jacobian.T @ np.linalg.solve(square, error - jacobian @ pull)
            step *= min(1.0, _MAX_STEP_RAD / max(float(np.abs(step).max()), 1e-12))
            joints = np.clip(joints + step, self._lower, self._upper)
        return joints

    def _place(self, joints_rad: Float64[np.ndarray, "7"]) -> None:
        self._data.qpos[:7] = joints_rad
        self._mujoco.mj_kinematics(self._model, self._data)

    def _error(self, target: Pose) -> Float64[np.ndarray, "6"]:
        now = self._data.site_xmat[self._tool].reshape(3, 3)
        turn = rotation_vector(target.rotation @ now.T)
        return np.concatenate([target.position - self._data.site_xpos[self._tool], turn])


def rotation_vector(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3"]:
    """Returns axis times angle of a rotation matrix; the angle lies in 0..pi."""
    quat, vector = np.zeros(4), np.zeros(3)
    mujoco = load_mujoco()
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quat, 1.0)
    return vector


def rotation_matrix(vector_rad: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Returns the matrix of a rotation vector (axis times angle)."""
    angle = float(np.linalg.norm(vector_rad))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector_rad, dtype=np.float64) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
