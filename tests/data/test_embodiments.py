"""Who is one robot: the rule that decides which data sets share input layers."""

from dataclasses import replace
from pathlib import Path

import pytest

from jointspace.data.embodiments import DataSource, Embodiment, match_embodiments, unique_name
from jointspace.data.schema import DatasetInfo
from jointspace.errors import ConfigError

ARM = Embodiment("", "so100", 30.0, ("pan", "lift"), ("pan", "lift"), {"force": 3}, ("top",))


def names(*found, known=()):
    embodiments, numbers = match_embodiments(found, known=known)
    return [each.name for each in embodiments], list(numbers)


def source(path, name=""):
    return DataSource(Path(path), name)


def test_a_name_before_a_path_is_read_unless_the_folder_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DataSource.parse("arm=sets/a=b") == source("sets/a=b", "arm")
    assert DataSource.parse("sets/a=b") == source("sets/a=b")
    assert DataSource.parse("=a") == source("=a")
    (tmp_path / "lr=3").mkdir()
    assert DataSource.parse("lr=3") == source("lr=3")


def test_equal_robots_share_an_embodiment_named_by_their_type():
    assert names((source("a"), ARM), (source("b"), ARM)) == (["so100"], [0, 0])


@pytest.mark.parametrize(
    "change",
    [
        {"robot_type": "koch"},
        {"fps": 15.0},
        {"action_names": ("pan", "roll")},
        {"state_names": ()},
        {"sensors": {"force": 6}},
        {"cameras": ("wrist",)},
    ],
)
def test_robots_that_differ_in_anything_stay_apart(change):
    _, numbers = names((source("a"), ARM), (source("b"), replace(ARM, **change)))
    assert numbers == [0, 1]


def test_names_are_unique_and_folders_stand_in_for_a_missing_type():
    nameless = replace(ARM, robot_type="unknown")
    found = names(
        (source("x/a"), ARM), (source("b"), replace(ARM, fps=5.0)), (source("c d"), nameless)
    )
    assert found == (["so100", "so100-2", "c-d"], [0, 1, 2])
    # What does not say what it is, is never taken for another.
    assert names((source("c"), nameless), (source("d"), nameless))[1] == [0, 1]


def test_the_user_decides_by_name_who_shares():
    other = replace(ARM, robot_type="koch", action_names=("a", "b"))
    assert names((source("a", "one"), ARM), (source("b", "one"), other)) == (["one"], [0, 0])
    assert names((source("a", "one"), ARM), (source("b", "two"), ARM)) == (["one", "two"], [0, 1])
    assert names((source("a", "one"), ARM), (source("b"), ARM)) == (["one", "so100"], [0, 1])


def test_a_known_robot_keeps_its_number_and_new_ones_follow():
    known = (replace(ARM, name="mine"), replace(ARM, name="other", fps=5.0))
    found = names((source("a"), replace(ARM, fps=9.0)), (source("b"), ARM), known=known)
    assert found == (["mine", "other", "so100"], [2, 0])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"action_names": ("a",)}, "2 and 1 channels of action"),
        ({"state_names": ()}, "2 and 0 channels of state"),
        ({"fps": 15.0}, "30 and 15 steps per second"),
        ({"sensors": {}}, r"\{'force': 3\} and nothing as sensors"),
        ({"cameras": ("wrist",)}, "top and wrist as cameras"),
    ],
)
def test_one_name_for_robots_that_cannot_share_layers_is_refused(change, why):
    match = rf"--data one=b: another data set of 'one' differs \({why}\); .*give it another name"
    with pytest.raises(ConfigError, match=match):
        names((source("a", "one"), ARM), (source("b", "one"), replace(ARM, **change)))


def test_a_data_set_fits_a_robot_of_which_it_records_everything():
    info = DatasetInfo(
        path=Path("x"),
        format="",
        robot_type="so100",
        fps=30.0,
        cameras=("top", "wrist"),
        action_names=("pan", "lift"),
        state_names=("pan", "lift"),
        sensors={"force": 3, "heat": 1},
    )
    assert ARM.fits(info)
    assert not ARM.fits(replace(info, fps=10.0))
    assert not ARM.fits(replace(info, cameras=("wrist",)))
    assert not ARM.fits(replace(info, sensors={"force": 4}))
    assert not replace(ARM, robot_type="").fits(replace(info, robot_type=""))
    assert Embodiment.of(info, sensors=("state", "force"), name="n") == replace(
        ARM, name="n", cameras=("top", "wrist")
    )


def test_an_embodiment_survives_json():
    assert Embodiment.from_json(ARM.to_json()) == ARM


def test_plain_unique_names():
    assert unique_name("a b/ü!", taken=()) == "a-b-ü"
    assert unique_name("..", taken=()) == "data"
    assert unique_name("a", taken=("a", "a-2")) == "a-3"
