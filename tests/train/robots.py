"""Runs of an arm and a rover, prepared and trained in short."""

import pytest

from jointspace.batch import Modality
from jointspace.data.embodiments import DataSource
from jointspace.data.frames import prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.samples import SampleSet
from jointspace.models.embed import TorchEmbedder
from jointspace.models.run_data import choose_data
from jointspace.train.loop import train
from jointspace.train.prepare import prepare
from tests.train.test_setup import configured

FORCE = Modality("observation.force")
BOTH = configured(
    model={"sensors": ("state", FORCE)},
    augment={"paraphrase": 0.5, "camera_dropout": 0.3, "erase": 0.2},
    train={"balance": "goal"},
)
LONGER = configured(model={"sensors": ("state", FORCE)}, train={"num_steps": 8})


def sources(*paths):
    return [DataSource.parse(each) for each in paths]


def prepared(config, *paths, out, resume=False):
    return prepare(config, data=sources(*paths), out=out, resume=resume, show_progress=False)


def trained(config, *paths, out, resume=False):
    return train(config, data=sources(*paths), out=out, resume=resume, show_progress=False)


def refused(error, match, config, *paths, out, resume=False):
    with pytest.raises(error, match=match) as caught:
        trained(config, *paths, out=out, resume=resume)
    assert "\n" not in str(caught.value)


def embedded(run, path):
    """Unit rows of every window of a data set, by modality, as `embed` makes them."""
    dataset = open_dataset(path)
    own = choose_data(run.data, dataset, run=run.folder)
    preprocessor = own.preprocessor
    dataset, store = prepare_frames(dataset, image_px=16, cameras=preprocessor.cameras)
    windows = SampleSet.of_windows(
        dataset, store, preprocessor, episodes=range(len(dataset.episodes))
    )
    embedder = TorchEmbedder(run.model, only=preprocessor.modalities)
    batch = windows.batch(range(len(windows)))
    return {m: embedder.embed(m, batch) for m in embedder.modalities}
