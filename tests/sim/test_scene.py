import subprocess
import sys

import numpy as np
import pytest

from jointspace.errors import InputError, MissingExtraError
from jointspace.sim.arm import FINGER_TRAVEL_M, JOINT_LIMITS_RAD
from jointspace.sim.engine import load_mujoco
from jointspace.sim.layout import MAX_BUTTONS, MAX_CONTAINERS, MAX_OBJECTS
from jointspace.sim.scene import ACTION_NAMES, CAMERAS, STATE_NAMES, build_arm, build_scene

FAILING_IMPORT = """
import sys, types
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "mujoco":
            raise {error}
sys.meta_path.insert(0, Finder())
from jointspace.sim.engine import load_mujoco
import jointspace.sim.world
try:
    load_mujoco()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def model():
    return build_scene()


def test_the_model_has_every_slot_camera_and_servo(model):
    names = {model.body(body).name for body in range(model.nbody)}
    assert {f"object{index}" for index in range(MAX_OBJECTS)} <= names
    assert {f"button{index}" for index in range(MAX_BUTTONS)} <= names
    for index in range(MAX_CONTAINERS):
        assert {f"container{index}_{kind}" for kind in ("bowl", "plate", "tray")} <= names
    assert {model.camera(camera).name for camera in range(model.ncam)} == set(CAMERAS)
    assert model.nu == 8


def test_joints_have_the_published_limits(model):
    for number, limits in enumerate(JOINT_LIMITS_RAD, start=1):
        np.testing.assert_allclose(model.joint(f"joint{number}").range, limits)
    np.testing.assert_allclose(model.joint("left_finger").range, (0.0, FINGER_TRAVEL_M))


def test_the_gripper_opens_to_eight_centimetres():
    assert pytest.approx(0.08) == 2 * FINGER_TRAVEL_M


def test_the_scene_needs_no_meshes_or_textures(model):
    assert model.nmesh == model.ntex == model.nhfield == 0


def test_the_arm_alone_has_the_joints_of_the_arm_and_nothing_else():
    arm = build_arm()
    assert arm.nq == 9
    assert [arm.joint(joint).name for joint in range(7)] == [f"joint{n}" for n in range(1, 8)]


def test_states_and_actions_have_a_name_for_each_number():
    assert len(STATE_NAMES) == len(set(STATE_NAMES)) == 14
    assert len(ACTION_NAMES) == len(set(ACTION_NAMES)) == 7


def run_where_mujoco_fails(error):
    script = FAILING_IMPORT.format(error=error)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_without_mujoco_the_rooms_import_and_the_use_names_the_extra():
    said = run_where_mujoco_fails("ModuleNotFoundError('no', name='mujoco')")
    assert said.startswith(MissingExtraError.__name__)
    assert "pip install 'jointspace[sim]'" in said


def test_an_import_that_a_graphics_library_stops_says_what_to_install():
    said = run_where_mujoco_fails("RuntimeError('invalid value for MUJOCO_GL: foo')")
    assert said.startswith(InputError.__name__)
    assert "invalid value for MUJOCO_GL: foo" in said
    assert "apt-get install libegl1 libgl1" in said


def test_mujoco_is_loaded_once():
    assert load_mujoco() is load_mujoco()
