"""The retrieval policy: looks the moment up among demonstrations, and does what fits between them.

Everything but the networks' small matrices is a look-up, so that a demonstration that is added to
the index counts at once, and a moment that is like none of them can be told by its distance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from jointspace.errors import InputError
from jointspace.robot.policy.head import ControlHead
from jointspace.robot.policy.index import DemonstrationIndex
from jointspace.robot.policy.motion import CHUNK_STEPS, MotionLayout, MotionMemory, actions_of
from jointspace.robot.policy.observe import Observer, Relevance
from jointspace.robot.policy.regression import local_ridge
from jointspace.robot.policy.wordings import KnownWordings

Answer = Literal["ridge", "mean", "nearest", "cloning"]
"""How actions follow from a moment: local regression over the nearest demonstrations, their mean,
the nearest one's alone, or none of them: what the head itself predicts (behaviour cloning)."""

EmbedTexts = Callable[[Sequence[str]], Float32[np.ndarray, "text dim"]]


@dataclass(frozen=True)
class Demonstrations:
    """What `jointspace learn` makes of a data set; `folder` stores it.

    Attributes:
        cameras: whose pictures the policy needs, in this order; the first one stands still.
        image_px: side of their square pictures.
        fps: actions a second.
        model_id: `weights_hash` of the joint space whose instruction rows it was trained on.
        layout: of state and action.
        observer: what is seen of a moment.
        wordings: what was told in the demonstrations.
        head: from a moment to the row in which demonstrations are compared.
        index: the demonstrations.
    """

    cameras: tuple[str, ...]
    image_px: int
    fps: float
    model_id: str
    layout: MotionLayout
    observer: Observer
    wordings: KnownWordings
    head: ControlHead
    index: DemonstrationIndex


class RetrievalPolicy:
    """Acts by demonstrations that were alike. Implements `jointspace.sim.policies.Policy`.

    Args:
        demonstrations: from `load_demonstrations`.
        embed_texts: the text tower of the joint space, such as `BundleEmbedder.embed_texts`.
        answer: how actions follow from the nearest demonstrations.
        num_neighbours: how many are looked up.
        replan_steps: actions of a chunk that are carried out before the next look.

    Raises:
        InputError: fewer than one neighbour, or more steps than a chunk has.
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        *,
        embed_texts: EmbedTexts,
        answer: Answer = "ridge",
        num_neighbours: int = 100,
        replan_steps: int = 5,
    ) -> None:
        if num_neighbours < 1 or not 1 <= replan_steps <= CHUNK_STEPS:
            raise InputError(
                f"retrieval policy: got num_neighbours {num_neighbours} and replan_steps "
                f"{replan_steps}; expected at least 1, and 1 to {CHUNK_STEPS}"
            )
        self._own = demonstrations
        self._embed_texts = embed_texts
        self._answer: Answer = answer
        self._num_neighbours = num_neighbours
        self._replan_steps = replan_steps
        self.start()

    def start(self) -> None:
        """Forgets the motion so far: a new episode, or a gap in time."""
        self._memory = MotionMemory(self._own.layout)
        self._chunk: Float64[np.ndarray, "step channel"] | None = None
        self._step = 0

    def tell(self, text_row: Float[np.ndarray, " dim"]) -> None:
        """Takes the instruction, as its row of the joint space."""
        said = np.asarray(text_row, np.float32)
        self._text = self._own.wordings.nearest(said)
        self._relevance: Relevance = self._own.observer.grounding.relevance(said)

    def feel(self, state: Float[np.ndarray, " channel"]) -> None:
        """Takes a measured state; call it at every step, in order."""
        self._state = np.asarray(state, np.float64)
        self._motion = self._memory.add(self._state)

    def chunk(
        self, pictures: Mapping[str, UInt8[np.ndarray, "px px 3"]]
    ) -> Float64[np.ndarray, "step channel"]:
        """Returns the next actions, for what was told and felt last.

        Args:
            pictures: camera -> picture of `image_px`.

        Raises:
            InputError: a camera's picture is missing, or has another size.
        """
        own = self._own
        wanted = (own.image_px, own.image_px, 3)
        for camera in own.cameras:
            shape = pictures[camera].shape if camera in pictures else None
            if shape != wanted:
                raise InputError(
                    f"retrieval policy: picture of camera '{camera}' has shape {shape}, "
                    f"expected {wanted} as in the demonstrations"
                )
        words = own.observer.palette.words(np.stack([pictures[each] for each in own.cameras]))
        seen = own.observer.observe(
            words, self._motion, own.layout.pose(self._state), self._relevance
        )
        row = own.head.rows(seen[None], self._text[None])
        if self._answer == "cloning":
            return actions_of(own.head.chunks(row)[0], own.layout)
        return actions_of(self._blend(row[0]), own.layout)

    def _blend(self, row: Float32[np.ndarray, " row"]) -> Float[np.ndarray, " target"]:
        index = self._own.index
        count = 1 if self._answer == "nearest" else self._num_neighbours
        found = index.nearest(row, count=count)
        chunks = index.chunks[found.places]
        if self._answer == "nearest":
            return chunks[0]
        return local_ridge(
            row,
            index.rows[found.places],
            chunks,
            distances=found.distances,
            ridge=1.0 if self._answer == "ridge" else 1e9,
        )

    def reset(self, observation: Mapping[str, Any], instruction: str) -> None:  # noqa: ARG002
        """Starts an episode of the simulated tabletop."""
        self.start()
        self.tell(self._embed_texts([instruction])[0])

    def act(
        self,
        observation: Mapping[str, Any],
        instruction: str,  # noqa: ARG002 - was told at the reset
    ) -> Float64[np.ndarray, " channel"]:
        """Goes on with the chunk, or looks again."""
        self.feel(observation["state"])
        if self._chunk is None or self._step >= self._replan_steps:
            self._chunk, self._step = self.chunk(observation["pictures"]), 0
        action = self._chunk[self._step]
        self._step += 1
        return action
