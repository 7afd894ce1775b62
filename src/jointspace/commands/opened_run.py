"""What `evaluate` and `embed` begin with: a run, its data set read again, and its pictures."""

from dataclasses import dataclass, replace
from pathlib import Path

from jointspace.data.embodiments import DataSource
from jointspace.data.feature_store import FeatureStore
from jointspace.data.frames import FrameStore, prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import RobotDataset
from jointspace.data.splits import Splits
from jointspace.models.embed import TorchEmbedder
from jointspace.models.feature_cache import remember_texts, vision_features
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
        seen: what its rows are cut from: the pictures, or features of them where it caches these.
    """

    run: Run
    data: RunData
    embedder: TorchEmbedder
    dataset: RobotDataset
    store: FrameStore | None
    seen: FrameStore | FeatureStore | None

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
        StorageError: a cache of pictures or features cannot be written.
    """
    run = load_run(folder)
    source = DataSource.parse(data)
    dataset = open_dataset(source.path)
    own = choose_data(run.data, dataset, embodiment=source.embodiment, run=folder)
    dataset = replace(dataset, shared=own.texts)
    preprocessor = own.preprocessor
    device = choose_device(run.config.train.device)
    store: FrameStore | None = None
    seen: FrameStore | FeatureStore | None = None
    if preprocessor.cameras:
        with progress_bar("decoding") as report:
            dataset, store = prepare_frames(
                dataset,
                image_px=preprocessor.image_px,
                cameras=preprocessor.cameras,
                progress=report,
            )
        with progress_bar("reading pictures") as report:
            seen = vision_features(run.config, store, device=device, progress=report)
    embedder = TorchEmbedder(run.model, device=device, only=preprocessor.modalities)
    remember_texts(run.model, preprocessor.tokenizer, dataset.instructions)
    return OpenedRun(run, own, embedder, dataset, store, seen)
