"""What graphs are calibrated and timed on: training rows, as the runtime feeds them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jointspace.batch import Batch, Modality
from jointspace.data.frames import FrameStore
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import RobotDataset
from jointspace.deploy.graph import FRAME_GRAPH, Graph
from jointspace.deploy.session import GraphSession, as_images, open_session
from jointspace.deploy.towers import Towers
from jointspace.evaluation.scales import EPISODES, WINDOWS
from jointspace.evaluation.split_samples import split_samples
from jointspace.export.quantise import Feeds

NUM_ROWS = {WINDOWS: 64, EPISODES: 32}
"""Rows of each scale that calibrate; ranges hardly grow beyond."""

_PICTURES = 4
"""Pictures of a row that calibrate what reads single pictures."""


def calibration_batches(
    dataset: RobotDataset,
    store: FrameStore | None,
    preprocessor: Preprocessor,
    *,
    train: Sequence[int],
    num_rows: Mapping[str, int] | None = None,
    seed: int = 0,
) -> list[Batch]:
    """Draws training rows, one a batch: windows, then whole episodes.

    Both, since a robot embeds windows and compares them with texts, and the other directions read
    whole episodes. Real rows: ranges of random pictures or tokens fit nothing that a robot meets.

    Args:
        dataset: the usable episodes.
        store: their pictures; None if the preprocessor has no cameras.
        preprocessor: of the run.
        train: positions of the episodes that were trained on.
        num_rows: how many of each scale; `NUM_ROWS` by default.
        seed: of the draw.

    Returns:
        Batches of one row, undisturbed by augmentation.
    """
    generator = np.random.default_rng(seed)
    batches: list[Batch] = []
    for scale, samples in split_samples(dataset, store, preprocessor, episodes=train).items():
        wanted = min(len(samples), (num_rows or NUM_ROWS)[scale])
        chosen = generator.choice(len(samples), wanted, replace=False)
        batches += [samples.batch([row]) for row in chosen.tolist()]
    return batches


def record_feeds(
    folder: Path, graphs: Sequence[Graph], preprocessor: Preprocessor, batches: Sequence[Batch]
) -> dict[str, list[Feeds]]:
    """Embeds rows and writes down what each graph was given.

    Args:
        folder: of the graphs.
        graphs: in float32.
        preprocessor: of the run.
        batches: the rows.

    Returns:
        Name of a graph that the runtime uses -> its inputs, in the order of the batches; a row that
        lacks the modality gives none.
    """
    recorder = _Recorder()
    towers = Towers(
        folder,
        graphs=graphs,
        preprocessor=preprocessor,
        engine="onnxruntime",
        open_graph=recorder.open,
    )
    for batch in batches:
        for modality in towers.modalities:
            recorder.modality = modality
            if all(batch[Modality(member)].present.any() for member in modality.split("+")):
                towers.embed(modality, batch)
    return recorder.feeds


def at_batch_1(name: str, feeds: Sequence[Feeds]) -> Feeds:
    """Returns inputs of one row, or of one picture, as a robot gives them to an engine.

    Args:
        name: of the graph.
        feeds: what `record_feeds` wrote down for it.
    """
    first = feeds[0]
    if name != FRAME_GRAPH:
        return first
    return {"images": first["images"][:1].transpose(0, 2, 3, 1).astype(np.uint8)}


class _Recorder:
    """Opens graphs that write down what they are given while their own modality is embedded.

    A fused query runs the graphs of its members once more, on what they were given before.
    """

    def __init__(self) -> None:
        self.modality = Modality("")
        self.feeds: dict[str, list[Feeds]] = {}

    def open(self, folder: Path, graph: Graph) -> GraphSession:
        self.feeds[graph.name] = []
        return _Recording(open_session(folder, graph, engine="onnxruntime"), graph, self)

    def keep(self, graph: Graph, feeds: Feeds) -> None:
        if graph.modality != self.modality:
            return
        if graph.name == FRAME_GRAPH:
            # Pictures of one row look alike, and take much memory.
            pictures = feeds["images"]
            feeds = {"images": as_images(pictures[:: math.ceil(len(pictures) / _PICTURES)])}
        self.feeds[graph.name].append({name: np.array(each) for name, each in feeds.items()})


class _Recording:
    """A graph that writes down what it is given."""

    def __init__(self, session: GraphSession, graph: Graph, recorder: _Recorder) -> None:
        self._session = session
        self._graph = graph
        self._recorder = recorder

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        self._recorder.keep(self._graph, feeds)
        return self._session.run(feeds, outputs)
