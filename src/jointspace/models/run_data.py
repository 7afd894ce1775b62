"""The data sets of a run as its folder keeps them: preprocessing, splits and embodiment of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jointspace.batch import ACTION, STATE
from jointspace.data.embodiments import Embodiment, unique_name
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import RobotDataset, SharedTexts
from jointspace.data.split_file import load_splits, num_stored_episodes
from jointspace.data.splits import Splits
from jointspace.errors import InputError, did_you_mean

DATA_FOLDER = "data_sets"
"""Holds a folder for each data set of a run of several robots."""

SPLITS_FILE = "splits.json"


@dataclass(frozen=True)
class RunData:
    """A data set of a run.

    Attributes:
        name: unique within the run.
        path: where it lay when it was trained on.
        embodiment: its robot; other data sets may be of the same.
        preprocessor: from its raw rows to model input; knows the embodiment's number.
        splits_file: which of its episodes trained.
        trained: False where it came with the run that this one started from.
        texts: of all data sets of the run, which number them alike; None in a run of one.
    """

    name: str
    path: Path
    embodiment: Embodiment
    preprocessor: Preprocessor
    splits_file: Path
    trained: bool = True
    texts: SharedTexts | None = None

    @property
    def report_folder(self) -> Path:
        """Where its report goes: the run folder, or in a run of several its own folder there."""
        return self.splits_file.parent

    def splits(self, dataset: RobotDataset, *, to_train: bool = False) -> Splits:
        """Returns the splits as positions in the data set, read again; see `load_splits`."""
        return load_splits(self.splits_file, dataset, to_train=to_train)


def read_run_data(folder: Path, about: Mapping[str, Any]) -> tuple[RunData, ...]:
    """Reads what a run folder keeps of its data sets.

    Args:
        folder: the run folder.
        about: content of its `run.json`.

    Returns:
        The data sets, in the order of training; those of an earlier run first.

    Raises:
        RunFolderError: a file is missing or has another version.
        MissingExtraError: the tokenizer is a pretrained one, and its package is not installed.
    """
    stored = about["data"]
    if isinstance(stored, Mapping):
        preprocessor, path = Preprocessor.load(folder), Path(stored["path"])
        embodiment = _only_embodiment(stored, preprocessor)
        return (RunData(path.name, path, embodiment, preprocessor, folder / SPLITS_FILE),)
    embodiments = [Embodiment.from_json(each) for each in about["embodiments"]]
    numbers = {each.name: number for number, each in enumerate(embodiments)}
    found = []
    for each in stored:
        own, number = folder / DATA_FOLDER / each["name"], numbers[each["embodiment"]]
        found.append(
            RunData(
                name=each["name"],
                path=Path(each["path"]),
                embodiment=embodiments[number],
                preprocessor=replace(Preprocessor.load(own), embodiment=number),
                splits_file=own / SPLITS_FILE,
                trained=each["trained"],
                texts=SharedTexts(tuple(about["instructions"]), tuple(about["goals"])),
            )
        )
    return tuple(found)


def embodiment_preprocessors(data: Sequence[RunData]) -> tuple[Preprocessor, ...]:
    """Returns a preprocessor of each embodiment, in the order of their numbers."""
    first = {each.preprocessor.embodiment: each.preprocessor for each in reversed(data)}
    return tuple(first[number] for number in sorted(first))


def choose_data(
    data: Sequence[RunData], dataset: RobotDataset, *, embodiment: str = "", run: Path
) -> RunData:
    """Finds the data set of a run that another one is, or is at least of the same robot as.

    A data set is known by its episodes, whatever its folder and format. One that the run has not
    seen is read as those of the robot that it is of: of the name that the user gives, or else of
    equal type, rate, channels and cameras. A run of a single data set takes any.

    Args:
        data: of the run.
        dataset: the usable episodes of a data set, with all of its cameras.
        embodiment: name of its robot in the run; empty finds it.
        run: the run folder, for the error.

    Returns:
        The data set of the run whose preprocessing fits.

    Raises:
        InputError: there is no embodiment of that name, or none that the data set is of.
    """
    names = dict.fromkeys(each.embodiment.name for each in data)
    if embodiment and embodiment not in names:
        raise InputError(
            f"{run}: has no embodiment '{embodiment}'.{did_you_mean(embodiment, names)}"
        )
    candidates = [each for each in data if embodiment in ("", each.embodiment.name)]
    if len(data) == 1:
        return data[0]
    seen = [num_stored_episodes(each.splits_file, dataset) for each in candidates]
    if max(seen):
        return candidates[seen.index(max(seen))]
    fitting = [each for each in candidates if embodiment or each.embodiment.fits(dataset.info)]
    if len({each.embodiment.name for each in fitting}) != 1:
        raise InputError(
            f"{dataset.info.path}: is none of the data sets of {run}, and its robot "
            f"('{dataset.info.robot_type}', {dataset.info.fps:g} steps per second, "
            f"{len(dataset.info.action_names)} action channels) is "
            f"{'none' if not fitting else 'more than one'} of its embodiments: "
            f"{', '.join(names)}; name one, as in --data {next(iter(names))}=PATH, "
            "or train its adapter first (train.start_from, train.trainable = 'adapters')"
        )
    return fitting[0]


def _only_embodiment(stored: Mapping[str, Any], preprocessor: Preprocessor) -> Embodiment:
    if "embodiment" in stored:
        return Embodiment.from_json(stored["embodiment"])
    # Written before runs knew embodiments: a robot without a type is taken for no other one.
    dims = preprocessor.channels
    return Embodiment(
        name=unique_name(stored["robot_type"] or Path(stored["path"]).name, taken=()),
        robot_type="",
        fps=preprocessor.fps,
        action_names=("",) * dims.get(ACTION, 1),
        state_names=("",) * dims.get(STATE, 0),
        sensors={str(m): dims.get(m, 1) for m in preprocessor.sensors if m != STATE},
        cameras=preprocessor.cameras,
    )
