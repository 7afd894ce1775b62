"""What `evaluate` and `embed` begin with: a run, its data set read again, and its pictures."""

from dataclasses import dataclass, replace
from pathlib import Path

from jointspace.data.embodiments import DataSource
from jointspace.data.frames import FrameStore, prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import RobotDataset
from jointspace.data.splits import Splits
from jointspace.models.embed import TorchEmbedder
from jointspace.models.run_data import RunData, choose_data
from jointspace.models.run_folder import Run, load_run
from jointspace.progress import progress_bar
from jointspace.train.devices import choose_device


@dataclass(frozen=True)
class OpenedRun:
    """A run beside a data set.

    Attributes:
        run: from the run folder.
        data: the data set of the run that this one is, or whose robot it is of.
        embedder: its model, on the device that its configuration names.
        dataset: the usable episodes.
        store: their pictures; None where the model sees none.
    """

    run: Run
    data: RunData
    embedder: TorchEmbedder
    dataset: RobotDataset
    store: FrameStore | None

    @property
    def preprocessor(self) -> Preprocessor:
        """From raw rows of the data set to model input."""
        return self.data.preprocessor

    @property
    def splits(self) -> Splits:
        """The run's splits of the data set.

        Raises:
            RunFolderError: they cannot be read.
            DataError: it is none of the data sets that the run was trained on.
        """
        return self.data.splits(self.dataset)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of the data set cannot be used, and why."""
        return tuple(str(each) for each in self.dataset.findings if each.severity == "skipped")


def open_run(folder: Path, *, data: Path) -> OpenedRun:
    """Opens a run folder and a data set for it.

    Args:
        folder: what `train` wrote.
        data: folder of the data set, perhaps with the name of its robot before it: `NAME=PATH`.

    Returns:
        Both, with the pictures decoded.

    Raises:
        RunFolderError: the folder holds no run that can be used.
        DataError: the data set cannot be read.
        InputError: the data set lacks a camera of the run, or is of none of its robots.
        StorageError: the picture cache cannot be written.
    """
    run = load_run(folder)
    source = DataSource.parse(data)
    dataset = open_dataset(source.path)
    own = choose_data(run.data, dataset, embodiment=source.embodiment, run=folder)
    dataset = replace(dataset, shared=own.texts)
    preprocessor = own.preprocessor
    store = None
    if preprocessor.cameras:
        with progress_bar("decoding") as report:
            dataset, store = prepare_frames(
                dataset,
                image_px=preprocessor.image_px,
                cameras=preprocessor.cameras,
                progress=report,
            )
    embedder = TorchEmbedder(
        run.model,
        device=choose_device(run.config.train.device),
        only=preprocessor.modalities,
    )
    return OpenedRun(run, own, embedder, dataset, store)
