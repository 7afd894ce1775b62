"""`jointspace learn`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from jointspace.batch import TEXT
from jointspace.commands.arguments import Learn
from jointspace.data.collate import Sample
from jointspace.data.frames import FrameStore, prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.schema import Episode, RobotDataset
from jointspace.errors import InputError
from jointspace.models.checkpoint import weights_hash
from jointspace.models.embed import TorchEmbedder
from jointspace.models.run_folder import Run, load_run
from jointspace.progress import progress_bar
from jointspace.robot.policy.folder import save_demonstrations
from jointspace.robot.policy.head import TEXT_SCALE, ControlHead
from jointspace.robot.policy.index import DemonstrationIndex
from jointspace.robot.policy.learn import Demonstration, fit_observer, fit_palette, observe_all
from jointspace.robot.policy.motion import MotionLayout
from jointspace.robot.policy.retrieval import Demonstrations, EmbedTexts
from jointspace.robot.policy.wordings import KnownWordings
from jointspace.train.control import train_control

_TEXTS_AT_ONCE = 128
_HELD_OUT = ("test", "unseen_paraphrases", "unseen_combinations")


@dataclass(frozen=True)
class Learned:
    """What was made.

    Attributes:
        path: folder of the policy.
        num_demonstrations: episodes that it knows.
        num_moments: rows of its index.
    """

    path: Path
    num_demonstrations: int
    num_moments: int

    def render(self) -> str:
        """Returns one sentence."""
        return (
            f"{self.path}: a retrieval policy of {self.num_demonstrations} demonstrations, "
            f"{self.num_moments} moments"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the same as one object."""
        return {
            "path": str(self.path),
            "num_demonstrations": self.num_demonstrations,
            "num_moments": self.num_moments,
        }


def run(arguments: Learn) -> Learned:
    """Makes a retrieval policy of the demonstrations of data sets that one robot recorded.

    Episodes that failed are left out, and where a data set ships splits, those that are held out.

    Returns:
        What it came to.

    Raises:
        InputError: the data sets have no demonstrations, or not the channels of the policy, the
            rate of the run or its cameras.
        RunFolderError: the run cannot be read.
        DataError: a data set cannot be used.
        StorageError: the folder could not be written.
    """
    joint = load_run(arguments.run)
    preprocessor = joint.preprocessor
    opened = [
        prepare_frames(
            open_dataset(path), image_px=preprocessor.image_px, cameras=preprocessor.cameras
        )
        for path in arguments.data
    ]
    layout = _common_layout([dataset for dataset, _ in opened], fps=preprocessor.fps)
    chosen = [(store, episodes) for dataset, store in opened if (episodes := _chosen(dataset))]
    num_demonstrations = sum(len(episodes) for _, episodes in chosen)
    if not chosen:
        raise InputError(
            "learn: no episode has an instruction and a state, succeeded, and is not held out; "
            "give other data sets"
        )
    embed = text_embedder(joint)

    def demonstrations() -> Iterator[Demonstration]:
        for store, episodes in chosen:
            rows = embed([episode.instruction for _, episode in episodes])
            for (place, episode), row in zip(episodes, rows, strict=True):
                if episode.state is not None:
                    pictures = _pictures(store, place)
                    yield Demonstration(pictures, episode.state, episode.action, row)

    step = max(1, num_demonstrations // 200)
    spread = (
        _pictures(store, place) for store, episodes in chosen for place, _ in episodes[::step]
    )
    palette = fit_palette(spread, seed=arguments.seed)
    observer, relevances = fit_observer(demonstrations(), palette, layout, seed=arguments.seed)
    moments = observe_all(
        demonstrations(), observer, layout, relevances=relevances, stride=arguments.stride
    )
    wordings = KnownWordings(observer.grounding.texts)
    told = np.stack([wordings.nearest(row) for row in moments.text_rows])
    with progress_bar("learning") as report:
        head = ControlHead(
            train_control(
                moments.seen,
                told,
                moments.episodes,
                moments.chunks,
                text_scale=TEXT_SCALE,
                num_steps=arguments.steps,
                seed=arguments.seed,
                progress=report,
            )
        )
    rows = head.rows(moments.seen, told[moments.episodes])
    save_demonstrations(
        Demonstrations(
            cameras=tuple(name.split(".")[-1] for name in preprocessor.cameras),
            image_px=preprocessor.image_px,
            fps=preprocessor.fps,
            model_id=weights_hash(joint.model),
            layout=layout,
            observer=observer,
            wordings=wordings,
            head=head,
            index=DemonstrationIndex(rows, moments.chunks, moments.episodes),
        ),
        arguments.out,
    )
    return Learned(arguments.out, num_demonstrations, len(rows))


def text_embedder(joint: Run) -> EmbedTexts:
    """Returns the text tower of a run as a function from sentences to unit rows."""
    embedder = TorchEmbedder(joint.model)

    def embed(texts: Sequence[str]) -> Float32[np.ndarray, "text dim"]:
        return np.concatenate(
            [
                embedder.embed(
                    TEXT,
                    joint.preprocessor.batch(
                        [Sample(text=text) for text in texts[first : first + _TEXTS_AT_ONCE]]
                    ),
                )
                for first in range(0, len(texts), _TEXTS_AT_ONCE)
            ]
        )

    return embed


def _common_layout(datasets: Sequence[RobotDataset], *, fps: float) -> MotionLayout:
    """Returns where states and actions of all data sets hold what the policy reads and moves."""
    infos = [dataset.info for dataset in datasets]
    layouts = [MotionLayout.of(info.state_names, info.action_names) for info in infos]
    for info, layout in zip(infos, layouts, strict=True):
        if layout != layouts[0]:
            raise InputError(
                f"{info.path}: its states and actions hold their channels in other places than "
                f"those of {infos[0].path}; learn from data sets of one robot"
            )
        if info.fps != fps:
            raise InputError(
                f"{info.path}: has {info.fps:g} steps per second, expected {fps:g} as in the run; "
                "learn from data sets at the rate of the run"
            )
    return layouts[0]


def _chosen(dataset: RobotDataset) -> list[tuple[int, Episode]]:
    """Returns the demonstrations with their positions."""
    return [
        (place, episode)
        for place, episode in enumerate(dataset.episodes)
        if episode.success is not False
        and episode.split not in _HELD_OUT
        and episode.state is not None
        and episode.instruction
    ]


def _pictures(store: FrameStore, place: int) -> np.ndarray:
    return np.stack([store.frames(place, camera) for camera in store.cameras], axis=1)
