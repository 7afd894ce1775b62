"""What of a run's configuration is left for a data set that records less."""

from dataclasses import replace
from pathlib import Path

import pytest

from jointspace.batch import STATE, Modality
from jointspace.config import DataConfig, ModelConfig, RunConfig
from jointspace.errors import InputError
from jointspace.train.narrowing import check_cameras, check_sensors, narrowed, unrecorded
from tests.data.memory_dataset import make_dataset, make_episode

FORCE, SOUND = Modality("observation.force"), Modality("observation.sound")
ARM = make_dataset([make_episode(0)], cameras=("observation.images.top",), state_dim=2)
ROVER = make_dataset([make_episode(0)], cameras=("left", "right"), sensors={FORCE: 6})


def config(*, cameras=(), sensors=(STATE, FORCE)):
    return RunConfig(data=DataConfig(cameras=cameras), model=ModelConfig(sensors=sensors))


def test_a_data_set_keeps_the_cameras_and_sensors_that_it_records():
    asked = config(cameras=("top", "right"))
    arm, rover = (narrowed(asked, each.info, sensors=(STATE, FORCE)) for each in (ARM, ROVER))
    assert (arm.data.cameras, arm.model.sensors) == (("top",), (STATE,))
    assert (rover.data.cameras, rover.model.sensors) == (("right",), (FORCE,))
    same = replace(arm, data=asked.data, model=asked.model)
    assert same == asked, "nothing else is changed"


def test_no_camera_asked_for_leaves_all_of_them():
    assert narrowed(config(), ROVER.info, sensors=(FORCE,)).data.cameras == ()


def test_a_sensor_that_the_model_to_start_from_lacks_is_left_out():
    assert narrowed(config(), ROVER.info, sensors=(STATE,)).model.sensors == ()


def test_a_data_set_with_none_of_the_cameras_is_refused():
    info = replace(ROVER.info, path=Path("rover"))
    with pytest.raises(InputError, match=r"rover: has none of the cameras of data.cameras: lift"):
        narrowed(config(cameras=("lift",)), info, sensors=())


def test_what_no_data_set_has_is_refused_with_what_is_near():
    check_cameras(config(cameras=("top", "left")), [ARM, ROVER])
    with pytest.raises(InputError, match=r"no data set has 'lift'\. Did you mean 'left'\?"):
        check_cameras(config(cameras=("top", "lift")), [ARM, ROVER])
    check_sensors(config(), [ROVER])
    with pytest.raises(InputError, match=rf"model\.sensors: no data set has '{SOUND}'"):
        check_sensors(config(sensors=(FORCE, SOUND)), [ARM, ROVER])


def test_sensors_that_a_data_set_trains_without_are_told():
    asked = config()
    (finding,) = unrecorded(asked, narrowed(asked, ARM.info, sensors=(STATE, FORCE)))
    assert (finding.severity, finding.where) == ("note", "model.sensors")
    assert finding.message.startswith(f"{FORCE}: not recorded here")
    assert not list(unrecorded(asked, asked))
