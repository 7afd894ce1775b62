"""From pictures and a command to a percept: encode, compare, judge."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from jointspace.batch import TEXT, UNIT_NORM_TOLERANCE, VISION, Modality
from jointspace.errors import InputError
from jointspace.evaluation.decision import Decision as Verdict
from jointspace.evaluation.decision import GrowthThreshold, Latch
from jointspace.robot.core.percept import Command, Percept, StateWindow

_MOST_TEXTS = 256


@runtime_checkable
class RobotEmbedder(Protocol):
    """What perception asks of a bundle; `deploy.runtime.BundleEmbedder` has it."""

    @property
    def embed_dim(self) -> int:
        """Width of the joint space."""
        ...

    @property
    def model_id(self) -> str:
        """Hash of the model's weights."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "text dim"]:
        """Returns a unit row per text."""
        ...

    def similarity(
        self,
        query: Modality,
        query_row: Float32[np.ndarray, " dim"],
        target: Modality,
        target_rows: Float32[np.ndarray, "row dim"],
    ) -> Float32[np.ndarray, " row"]:
        """Compares a row with others, through the gate of their pair."""
        ...


@runtime_checkable
class PictureStream(Protocol):
    """The newest pictures of every camera as one row; `deploy.stream.VisionStream` is one."""

    def add(
        self, camera: str, picture: UInt8[np.ndarray, "height width 3"], time_s: float
    ) -> UInt8[np.ndarray, "px px 3"]:
        """Encodes a picture once, keeps its row, and returns the square that was encoded."""
        ...

    def embedding(self, now_s: float) -> tuple[Float32[np.ndarray, " dim"], float]:
        """Returns the row of the window that ends now, and the age of its newest picture."""
        ...

    def grown(self, since_s: float) -> tuple[Float32[np.ndarray, " dim"], float]:
        """Returns the row of what came since a time, and how long that is."""
        ...


@runtime_checkable
class Judge(Protocol):
    """A calibrated threshold; `evaluation.decision.MatchThreshold` is one."""

    def decide(self, similarity: float) -> Verdict:
        """Accepts, abstains or rejects."""
        ...


@dataclass(frozen=True)
class Band:
    """A threshold that was configured instead of calibrated.

    Attributes:
        accept: above it the command applies.
        reject: below it the command does not; between the two the robot abstains.
    """

    accept: float
    reject: float

    def decide(self, similarity: float) -> Verdict:
        """Says whether a command of this similarity applies."""
        if similarity > self.accept:
            return "accept"
        return "reject" if similarity < self.reject else "abstain"


@dataclass(frozen=True)
class Frame:
    """A picture that is decoded.

    Attributes:
        pixels: RGB of any size.
        frame_s: when it was taken, on the steady clock.
        source: what the shell passed along.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    frame_s: float
    source: object = None


class Perception:
    """Encodes pictures as they come and compares them with the command. For one thread at a time.

    Args:
        embedder: the bundle.
        make_stream: makes an empty stream of pictures.
        cameras: cameras whose pictures are needed; there is no percept before each has sent one.
        judge: the threshold of pictures and text; None where similarity is not judged.
        growth: the threshold of the pictures since the command, which judges in the place of
            `judge` where pictures come, not rows; None without.
        longest_gap_s: between two looks; after a longer one, what was accepted before is forgotten.
        instructions: sentences of which the most similar is reported.
    """

    def __init__(
        self,
        embedder: RobotEmbedder,
        *,
        make_stream: Callable[[], PictureStream],
        cameras: Sequence[str],
        judge: Judge | None,
        growth: GrowthThreshold | None = None,
        longest_gap_s: float = math.inf,
        instructions: Sequence[str] = (),
    ) -> None:
        self._embedder = embedder
        self._make_stream = make_stream
        self._cameras = tuple(cameras)
        self._judge = judge
        self._growth = growth
        self._longest_gap_s = longest_gap_s
        self._latch = Latch()
        self._told: tuple[int, float] | None = None
        self._instructions = tuple(instructions)
        self._texts: OrderedDict[str, Float32[np.ndarray, " dim"]] = OrderedDict()
        self.reset()

    def reset(self) -> None:
        """Forgets every picture; texts are kept, since they do not age."""
        self._stream = self._make_stream()
        self._frame_s: dict[str, float] = {}
        self._pictures: dict[str, UInt8[np.ndarray, "px px 3"]] = {}
        self._sources: dict[str, object] = {}
        self._seen: Percept | None = None
        self._latch.release()

    def doubt(self) -> None:
        """Forgets that the command was accepted, as after a fault; pictures are kept."""
        self._latch.release()

    def is_newer(self, camera: str, frame_s: float) -> bool:
        """Whether a picture was taken after the camera's last one."""
        return frame_s > self._frame_s.get(camera, -math.inf)

    def look(self, frames: Mapping[str, Frame]) -> None:
        """Encodes new pictures, each newer than its camera's last.

        Raises:
            InputError: the stream of pictures refuses one, or its row is no finite unit row.
        """
        began_s = time.perf_counter()
        for camera, frame in frames.items():
            self._pictures[camera] = self._stream.add(camera, frame.pixels, frame.frame_s)
            self._frame_s[camera] = frame.frame_s
            self._sources[camera] = frame.source
        if any(camera not in self._frame_s for camera in self._cameras):
            return
        newest_s = max(self._frame_s.values())
        row, _ = self._stream.embedding(newest_s)
        self._see(
            Percept(
                frame_s=min(self._frame_s[camera] for camera in self._cameras),
                vision=_unit_row(row, what="pictures"),
                pictures=dict(self._pictures),
                sources=dict(self._sources),
                encode_ms=(time.perf_counter() - began_s) * 1e3,
            )
        )

    def look_at_row(
        self, row: Float32[np.ndarray, " dim"], *, frame_s: float, source: object = None
    ) -> None:
        """Takes a row that another process has made of the pictures.

        Raises:
            InputError: it is no finite unit row of the joint space.
        """
        if row.shape != (self._embedder.embed_dim,):
            raise InputError(
                f"embedding: got shape {row.shape}, expected ({self._embedder.embed_dim},)"
            )
        camera = self._cameras[0] if self._cameras else "embedding"
        self._frame_s[camera] = frame_s
        self._see(
            Percept(
                frame_s=frame_s,
                vision=_unit_row(row, what="embedding message"),
                sources={camera: source},
            )
        )

    def judge(self, command: Command | None, states: StateWindow | None) -> Percept | None:
        """Compares the newest pictures with the command.

        Args:
            command: what the robot was told last; None if nothing.
            states: what it measured.

        Returns:
            The percept; None before there are pictures.

        Raises:
            InputError: the text cannot be embedded, or the similarity is not finite.
        """
        if self._seen is None or self._seen.vision is None:
            return None
        percept = replace(self._seen, states=states)
        if self._instructions:
            rows = np.stack([self._text(each) for each in self._instructions])
            similarities = self._similarity(self._seen.vision, rows)
            best = int(similarities.argmax())
            percept = replace(
                percept,
                best_instruction=self._instructions[best],
                best_similarity=float(similarities[best]),
            )
        if command is None:
            return percept
        if self._told is None or self._told[0] != command.number:
            self._told = command.number, command.received_s
            self._latch.release()
        text = self._text(command.text)
        vision, elapsed_s = self._seen.vision, None
        if self._growth is not None and self._seen.pictures:
            row, elapsed_s = self._stream.grown(self._told[1])
            vision = _unit_row(row, what="pictures since the command")
        similarity = float(self._similarity(vision, text[None])[0])
        verdict: Verdict | None = None
        if self._growth is not None and elapsed_s is not None:
            verdict = self._growth.decide(similarity, elapsed_s=elapsed_s)
        elif self._judge is not None:
            verdict = self._judge.decide(similarity)
        return replace(
            percept,
            command=command,
            text=text,
            similarity=similarity,
            elapsed_s=elapsed_s,
            verdict=None if verdict is None else self._latch.settle(verdict),
        )

    def _see(self, percept: Percept) -> None:
        if self._seen is not None and percept.frame_s - self._seen.frame_s > self._longest_gap_s:
            self.doubt()
        self._seen = percept

    def _similarity(
        self, vision: Float32[np.ndarray, " dim"], rows: Float32[np.ndarray, "row dim"]
    ) -> Float32[np.ndarray, " row"]:
        similarity = self._embedder.similarity(VISION, vision, TEXT, rows)
        if not np.isfinite(similarity).all():
            raise InputError("the similarity of pictures and text is not finite")
        return similarity

    def _text(self, text: str) -> Float32[np.ndarray, " dim"]:
        row = self._texts.get(text)
        if row is None:
            row = _unit_row(self._embedder.embed_texts([text])[0], what=f"text '{text}'")
            self._texts[text] = row
            if len(self._texts) > _MOST_TEXTS:
                self._texts.popitem(last=False)
        self._texts.move_to_end(text)
        return row


def _unit_row(row: Float32[np.ndarray, " dim"], *, what: str) -> Float32[np.ndarray, " dim"]:
    norm = float(np.linalg.norm(row))
    # Also false for NaN.
    if not abs(norm - 1) <= UNIT_NORM_TOLERANCE:
        raise InputError(f"the row of {what} has length {norm:.4g}, expected 1")
    return row
