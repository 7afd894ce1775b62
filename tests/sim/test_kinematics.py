import math

import numpy as np
import pytest

from jointspace.sim.arm import HOME, JOINT_LIMITS_RAD
from jointspace.sim.kinematics import Kinematics, Pose, rotation_matrix, rotation_vector
from jointspace.sim.world import within_reach

DOWN = np.diag((1.0, -1.0, -1.0))
LOWER, UPPER = np.array(JOINT_LIMITS_RAD).T

# Craig's (modified) convention, as the maker publishes it: a, d, alpha of each joint.
PANDA = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
FLANGE_M, HAND_TURN_RAD, FINGERS_M = 0.107, -math.pi / 4, 0.1034


@pytest.fixture(scope="module")
def arm():
    return Kinematics()


def table_of_denavit_and_hartenberg(joints):
    rows = [(*row, angle) for row, angle in zip(PANDA, joints, strict=True)]
    rows += [(0.0, FLANGE_M, 0.0, 0.0), (0.0, FINGERS_M, 0.0, HAND_TURN_RAD)]
    pose = np.eye(4)
    for a, d, alpha, theta in rows:
        ca, sa, ct, st = math.cos(alpha), math.sin(alpha), math.cos(theta), math.sin(theta)
        pose = pose @ np.array(
            [
                [ct, -st, 0.0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return pose


def test_forward_kinematics_are_those_of_the_published_table(arm):
    rng = np.random.default_rng(0)
    for _ in range(50):
        joints = rng.uniform(LOWER, UPPER)
        expected = table_of_denavit_and_hartenberg(joints)
        pose = arm.tool_pose(joints)
        np.testing.assert_allclose(pose.position, expected[:3, 3], atol=1e-9)
        np.testing.assert_allclose(pose.rotation, expected[:3, :3], atol=1e-9)


def test_the_jacobian_is_the_finite_difference_of_the_pose(arm):
    rng = np.random.default_rng(1)
    step = 1e-6
    for _ in range(10):
        joints = rng.uniform(LOWER, UPPER)
        jacobian = arm.jacobian(joints)
        for joint in range(7):
            nudge = np.eye(7)[joint] * step
            after, before = arm.tool_pose(joints + nudge), arm.tool_pose(joints - nudge)
            linear = (after.position - before.position) / (2 * step)
            angular = rotation_vector(after.rotation @ before.rotation.T) / (2 * step)
            np.testing.assert_allclose(jacobian[:, joint], [*linear, *angular], atol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "tilt_rad"),
    [
        ((0.30, -0.38, 0.01), (0.74, 0.38, 0.45), 0.0),
        ((0.38, -0.30, 0.01), (0.64, 0.30, 0.25), 0.2),
    ],
)
def test_the_tool_reaches_poses_all_over_the_workspace_within_the_joint_limits(
    arm, low, high, tilt_rad
):
    rng = np.random.default_rng(2)
    for _ in range(120):
        tilt = rotation_matrix(np.array([*rng.uniform(-tilt_rad, tilt_rad, 2), 0.0]))
        yaw = rotation_matrix(np.array([0.0, 0.0, rng.uniform(-1.2, 1.2)]))
        place = within_reach(rng.uniform(low, high))
        target = Pose(position=place, rotation=tilt @ yaw @ DOWN)
        joints = arm.solve(target, start_rad=np.array(HOME), iterations=100)
        reached = arm.tool_pose(joints)
        assert np.linalg.norm(reached.position - target.position) < 1e-3
        assert np.linalg.norm(rotation_vector(reached.rotation @ target.rotation.T)) < 1e-2
        assert (joints >= LOWER).all()
        assert (joints <= UPPER).all()


def test_an_arm_at_home_stays_there(arm):
    home = np.array(HOME)
    np.testing.assert_allclose(arm.solve(arm.tool_pose(home), start_rad=home), home, atol=1e-4)


def test_the_elbow_does_not_wander_on_a_round_trip(arm):
    joints = np.array(HOME)
    home = arm.tool_pose(joints)
    for turn in np.linspace(0, 4 * math.pi, 160):
        circle = home.position + 0.15 * np.array((math.sin(turn), 1 - math.cos(turn), 0.0))
        joints = arm.solve(Pose(position=circle, rotation=home.rotation), start_rad=joints)
    assert np.abs(joints - HOME).max() < 0.05


def test_a_pose_out_of_reach_gives_finite_joints_within_the_limits(arm):
    target = Pose(position=np.array((2.0, 0.0, 0.5)), rotation=DOWN)
    joints = arm.solve(target, start_rad=np.array(HOME))
    assert ((joints >= LOWER) & (joints <= UPPER)).all()


def test_rotation_vectors_and_matrices_are_each_others_inverse():
    rng = np.random.default_rng(3)
    for _ in range(20):
        vector = rng.normal(size=3)
        vector *= rng.uniform(0.0, 3.0) / np.linalg.norm(vector)
        np.testing.assert_allclose(rotation_vector(rotation_matrix(vector)), vector, atol=1e-7)
    np.testing.assert_array_equal(rotation_matrix(np.zeros(3)), np.eye(3))
    quarter = rotation_matrix(np.array((0.0, 0.0, math.pi / 2)))
    np.testing.assert_allclose(quarter @ (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), atol=1e-12)
