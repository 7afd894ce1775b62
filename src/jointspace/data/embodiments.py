"""Which data sets are of one robot: who shares input layers and statistics, and who does not."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jointspace.batch import STATE
from jointspace.data.schema import DatasetInfo
from jointspace.errors import ConfigError

_NAME = re.compile(r"[\w.-]+")
_NO_TYPE = ("", "unknown", "none")


@dataclass(frozen=True)
class DataSource:
    """A data set that the user names.

    Attributes:
        path: its folder.
        embodiment: the name that the user gives its robot; empty leaves it to `match_embodiments`.
    """

    path: Path
    embodiment: str = ""

    @staticmethod
    def parse(text: str | Path) -> "DataSource":
        """Reads `PATH` or `NAME=PATH`; a folder that exists is a path, whatever its name.

        Args:
            text: as in `--data`.

        Returns:
            The data set.
        """
        name, separator, path = str(text).partition("=")
        if separator and path and _NAME.fullmatch(name) and not Path(text).exists():
            return DataSource(Path(path), name)
        return DataSource(Path(text))


@dataclass(frozen=True)
class Embodiment:
    """A robot as its data sets show it: what input layers and statistics belong to.

    Attributes:
        name: unique within a run.
        robot_type: as the data set names it; empty if it does not.
        fps: steps per second. A change per step is another number at another rate, so that the
            same arm at two rates is two embodiments.
        action_names: one name per action dimension.
        state_names: one name per state dimension; empty if the state is not used.
        sensors: other modalities that are used, with their numbers of channels.
        cameras: feature names, in the order of the camera axis.
    """

    name: str
    robot_type: str
    fps: float
    action_names: tuple[str, ...]
    state_names: tuple[str, ...]
    sensors: Mapping[str, int]
    cameras: tuple[str, ...]

    @staticmethod
    def of(info: DatasetInfo, *, sensors: Iterable[str], name: str = "") -> "Embodiment":
        """Describes the robot of a data set.

        Args:
            info: of the data set, with the cameras that are used.
            sensors: modalities beside vision, text and action that are used, all recorded.
            name: of the embodiment.

        Returns:
            The embodiment.
        """
        used = tuple(sensors)
        return Embodiment(
            name=name,
            robot_type=info.robot_type,
            fps=info.fps,
            action_names=info.action_names,
            state_names=info.state_names if STATE in used else (),
            sensors={each: info.sensors[each] for each in used if each != STATE},
            cameras=info.cameras,
        )

    def is_same_robot(self, other: "Embodiment") -> bool:
        """Says whether all but the names agree, and the data sets say what robot it is."""
        named = self.robot_type.strip().lower() not in _NO_TYPE
        return named and replace(self, name="") == replace(other, name="")

    def fits(self, info: DatasetInfo) -> bool:
        """Says whether a data set is of this robot; it may hold further sensors and cameras."""
        if not (self.sensors.keys() <= info.sensors.keys() and {*self.cameras} <= {*info.cameras}):
            return False
        narrowed = replace(info, cameras=self.cameras)
        sensors = (*([STATE] if self.state_names else []), *self.sensors)
        return self.is_same_robot(Embodiment.of(narrowed, sensors=sensors))

    def conflict(self, other: "Embodiment") -> str:
        """Returns why two data sets cannot share input layers; empty where they can."""

        def sizes(each: "Embodiment") -> dict[str, object]:
            return {
                "steps per second": f"{each.fps:g}",
                "channels of action": len(each.action_names),
                "channels of state": len(each.state_names),
                "as sensors": dict(each.sensors) or "nothing",
                "as cameras": ", ".join(each.cameras) or "nothing",
            }

        mine, others = sizes(self), sizes(other)
        found = (f"{mine[key]} and {others[key]} {key}" for key in mine if mine[key] != others[key])
        return next(found, "")

    def to_json(self) -> dict[str, Any]:
        """Returns what `from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "Embodiment":
        """Reads what `to_json` returned."""
        lists = ("action_names", "state_names", "cameras")
        return Embodiment(**{**stored, **{name: tuple(stored[name]) for name in lists}})


def match_embodiments(
    found: Sequence[tuple[DataSource, Embodiment]], *, known: Sequence[Embodiment] = ()
) -> tuple[tuple[Embodiment, ...], tuple[int, ...]]:
    """Decides which data sets share an embodiment.

    Data sets to which the user gives one name are one embodiment. Of those without a name two are
    one embodiment where the robot's type (which must be given), the rate, the names of the channels
    of actions, state and sensors, and the cameras are all equal. An embodiment without a name gets
    the robot's type, or the folder's name where there is none.

    Args:
        found: data sets, with the embodiment that each shows (its name is not read).
        known: embodiments that are there already, and keep their numbers.

    Returns:
        All embodiments, the known ones first, and for each data set the number of its own.

    Raises:
        ConfigError: data sets of one name have other rates, channels or cameras.
    """
    every = list(known)
    unnamed = set(range(len(every)))
    numbers = []
    for source, shown in found:
        candidates = range(len(every)) if source.embodiment else unnamed
        number = next((n for n in candidates if _is_it(every[n], source, shown)), len(every))
        if number == len(every):
            if not source.embodiment:
                unnamed.add(number)
            taken = {each.name for each in every} | {each.embodiment for each, _ in found}
            name = source.embodiment or unique_name(_plain_name(source, shown), taken=taken)
            every.append(replace(shown, name=name))
        numbers.append(number)
    return tuple(every), tuple(numbers)


def unique_name(name: str, *, taken: Iterable[str]) -> str:
    """Returns the name, with a number behind it if it is taken.

    Args:
        name: any text; characters that are no part of a plain name become hyphens.
        taken: names that are not free.

    Returns:
        A name of letters, digits, hyphens, dots and underscores.
    """
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
    used, number = set(taken), 1
    unique = plain
    while unique in used:
        number += 1
        unique = f"{plain}-{number}"
    return unique


def _is_it(known: Embodiment, source: DataSource, shown: Embodiment) -> bool:
    if not source.embodiment:
        return known.is_same_robot(shown)
    if known.name != source.embodiment:
        return False
    conflict = known.conflict(shown)
    if conflict:
        raise ConfigError(
            f"--data {source.embodiment}={source.path}: another data set of '{known.name}' differs "
            f"({conflict}); robots of one name share their input layers: give it another name"
        )
    return True


def _plain_name(source: DataSource, shown: Embodiment) -> str:
    has_type = shown.robot_type.strip().lower() not in _NO_TYPE
    return shown.robot_type if has_type else source.path.resolve().name
