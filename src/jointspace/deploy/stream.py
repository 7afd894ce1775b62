"""What the cameras showed lately, as one row: each picture is encoded once, when it arrives."""

import math
import threading
from bisect import bisect_left
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped, UInt8

from jointspace.batch import VISION
from jointspace.data.preprocess import Preprocessor
from jointspace.data.resize import resize_frame
from jointspace.data.windows import clip_positions, window_steps
from jointspace.errors import InputError, did_you_mean

_PER_STEP = 4
"""Pictures of a camera that are kept for each step of the training data, at most."""

_MOST_PICTURES = 4096
"""Pictures of a camera that are kept, at most."""

_ROUNDING_S = 1e-6
"""Clocks and rates round: so much is equal."""


@runtime_checkable
class FrameEncoder(Protocol):
    """What a stream asks of a `BundleEmbedder`."""

    @property
    def preprocessor(self) -> Preprocessor:
        """Says how large pictures are, which cameras there are, and how long a window is."""
        ...

    def encode_frames(
        self, pictures: Shaped[np.ndarray, "..."]
    ) -> Float32[np.ndarray, "picture width"]:
        """Encodes pictures, each on its own."""
        ...

    def embed_frames(
        self,
        vectors: Shaped[np.ndarray, "..."],
        valid: Shaped[np.ndarray, "..."] | None = None,
        time_s: Shaped[np.ndarray, "..."] | None = None,
    ) -> Float32[np.ndarray, "batch dim"]:
        """Embeds rows of encoded pictures."""
        ...


class View(NamedTuple):
    """What a stream shows.

    Attributes:
        row: unit row of the last seconds.
        newest_age_s: seconds since its newest picture was taken.
    """

    row: Float32[np.ndarray, " dim"]
    newest_age_s: float


class Grown(NamedTuple):
    """What a stream has shown since some time.

    Attributes:
        row: unit row of it.
        span_s: from its first picture to its newest.
    """

    row: Float32[np.ndarray, " dim"]
    span_s: float


class VisionStream:
    """Embeds the last `window_s` of one or several cameras, with the pictures that training takes.

    A row ends with the newest picture of any camera. Counted back from there, it has the steps of a
    training window, and of them the ones that `clip_positions` takes, at the same times. Of each
    camera, a step is shown by the picture nearest to it, at most one step of the training data
    away (or, where `longest_s` is above some 4,096 steps, as far as the pictures that are kept lie
    apart); a camera without one is masked there. While the stream is shorter than a window, the row
    is what there is, as that of a short episode. A model that was trained on one picture a window
    sees the newest one of each camera.

    May be fed and asked by several threads at once. Memory is bounded, whatever the rate of the
    cameras: of what is older than the newest picture, one is kept for each quarter of a training
    step, and at most 4,096 of a camera.

    Args:
        embedder: encodes and embeds.
        max_ahead_s: how far the stamp of a picture may lie in the future, since clocks differ.
        longest_s: what `grown` looks back on at most; 0 keeps the pictures of a window alone.

    Raises:
        InputError: the model sees no pictures, or a time is negative or not finite.
    """

    def __init__(
        self, embedder: FrameEncoder, *, max_ahead_s: float = 0.01, longest_s: float = 0.0
    ) -> None:
        made = embedder.preprocessor
        if not made.cameras:
            raise InputError(f"bundle: no modality '{VISION}'; a stream needs a model with cameras")
        if not 0 <= max_ahead_s < math.inf:
            raise InputError(f"max_ahead_s is {max_ahead_s}; wanted 0 or more seconds")
        if not 0 <= longest_s < math.inf:
            raise InputError(f"longest_s is {longest_s}; wanted 0 or more seconds")
        self.cameras = made.cameras
        self.max_ahead_s = max_ahead_s
        self._embedder = embedder
        self._fps = made.fps
        self._image_px = made.image_px
        self._num_pictures = made.window_frames
        self._num_steps = (
            1 if made.window_frames == 1 else window_steps(made.window_s, fps=made.fps)
        )
        self._episode_pictures = made.episode_frames
        self.longest_s = longest_s
        # One step more than is shown: what the oldest step may be shown by.
        self._kept_s = max(self._num_steps, longest_s * made.fps + 1) / made.fps
        self._closest_s = max(1 / (_PER_STEP * made.fps), self._kept_s / _MOST_PICTURES)
        # Where few of many pictures are kept, a step that was left out is shown by its neighbour.
        self._farthest_s = max(1 / made.fps, self._closest_s)
        self._lock = threading.Lock()
        self._times: dict[str, list[float]] = {camera: [] for camera in made.cameras}
        self._vectors: dict[str, list[Float32[np.ndarray, " width"]]] = {
            camera: [] for camera in made.cameras
        }

    def add(
        self,
        camera: str,
        picture: Shaped[np.ndarray, "..."],
        time_s: float,
        *,
        now_s: float | None = None,
    ) -> UInt8[np.ndarray, "px px 3"]:
        """Encodes a picture and remembers its vector.

        Args:
            camera: one of `cameras`.
            picture: uint8 RGB of any size, "height width 3".
            time_s: when it was taken, on any clock that all cameras share.
            now_s: the time by that clock, to refuse a stamp from the future before it is taken in;
                None leaves that to `embedding`.

        Returns:
            The square picture that was encoded, as `resize_frame` makes it.

        Raises:
            InputError: no such camera, no picture, or a stamp that is not finite, not later than
                the last one of this camera, or in the future. Nothing is changed then.
        """
        if camera not in self._times:
            raise InputError(f"stream: no camera '{camera}'.{did_you_mean(camera, self.cameras)}")
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(
                f"camera '{camera}': got a picture of type {picture.dtype} and shape "
                f"{picture.shape}; wanted uint8 RGB of shape (height, width, 3)"
            )
        with self._lock:
            self._check_stamp(camera, time_s, now_s)
        square = resize_frame(picture, image_px=self._image_px)
        vector = self._embedder.encode_frames(square[None])[0]
        with self._lock:
            self._check_stamp(camera, time_s, now_s)  # another thread may have been faster
            self._keep(camera, vector, time_s)
        return square

    def embedding(self, now_s: float) -> View:
        """Embeds the last `window_s`.

        Args:
            now_s: the time, by the clock of the stamps.

        Returns:
            The row, and how old its newest picture is: not negative.

        Raises:
            InputError: no picture came within the last `window_s`, `now_s` is not finite, or a
                camera's stamp lies in the future.
        """
        if not math.isfinite(now_s):
            raise InputError(f"stream: now_s is {now_s}; wanted a time in seconds")
        with self._lock:
            for camera, times in self._times.items():
                if times:
                    self._check_future(camera, times[-1], now_s)
            newest_s = max((each[-1] for each in self._times.values() if each), default=-math.inf)
            window_s = self._embedder.preprocessor.window_s
            if now_s - newest_s > window_s + _ROUNDING_S:
                raise InputError(
                    f"stream: no picture within the last {window_s:g} s of any of the cameras "
                    f"{', '.join(self.cameras)}; wait for one, or look at the cameras"
                )
            # A camera that fell silent keeps pictures from before the window: they start nothing.
            span_s = (self._num_steps - 1) / self._fps
            shown = self._shown(newest_s, span_s=span_s, num_pictures=self._num_pictures)
        return View(self._embedded(shown), max(0.0, now_s - newest_s))

    def grown(self, since_s: float) -> Grown:
        """Embeds what came since some time as the row of an episode that is that far.

        It has as many pictures as the row of a whole episode, spread evenly, however long it is;
        of more than `longest_s` it is the last part.

        Args:
            since_s: when the robot was told, by the clock of the stamps. Where no picture is as
                new, the newest one is all there is.

        Returns:
            The row, and how long what it shows is.

        Raises:
            InputError: there is no picture, or `since_s` is not finite.
        """
        if not math.isfinite(since_s):
            raise InputError(f"stream: since_s is {since_s}; wanted a time in seconds")
        with self._lock:
            newest_s = max((each[-1] for each in self._times.values() if each), default=None)
            if newest_s is None:
                raise InputError("stream: no picture has come yet; wait for one")
            span_s = min(self.longest_s, max(0.0, newest_s - since_s))
            shown = self._shown(newest_s, span_s=span_s, num_pictures=self._episode_pictures)
        return Grown(self._embedded(shown), float(shown.time_s[-1]))

    def clear(self) -> None:
        """Forgets every picture, as after a jump of the clock or the start of another episode."""
        with self._lock:
            for camera in self.cameras:
                self._times[camera].clear()
                self._vectors[camera].clear()

    def _check_stamp(self, camera: str, time_s: float, now_s: float | None) -> None:
        if not math.isfinite(time_s):
            raise InputError(f"camera '{camera}': the stamp is {time_s}; wanted a time in seconds")
        last = self._times[camera][-1:]
        if last and time_s <= last[0]:
            raise InputError(
                f"camera '{camera}': got a picture of {time_s:.6f} s after one of {last[0]:.6f} s; "
                "wanted pictures in order of time: leave it out, or clear the stream if the clock "
                "was set back"
            )
        if now_s is not None:
            self._check_future(camera, time_s, now_s)

    def _check_future(self, camera: str, time_s: float, now_s: float) -> None:
        if time_s > now_s + self.max_ahead_s:
            raise InputError(
                f"camera '{camera}': got a picture of {time_s:.6f} s at {now_s:.6f} s, "
                f"{time_s - now_s:.3g} s in the future; wanted at most {self.max_ahead_s:g}: let "
                "the camera and this program use one clock, and clear the stream"
            )

    def _keep(self, camera: str, vector: Float32[np.ndarray, " width"], time_s: float) -> None:
        times, vectors = self._times[camera], self._vectors[camera]
        if len(times) > 1 and times[-1] - times[-2] < self._closest_s - _ROUNDING_S:
            times[-1], vectors[-1] = time_s, vector
        else:
            times.append(time_s)
            vectors.append(vector)
        first = bisect_left(times, time_s - self._kept_s - _ROUNDING_S)
        del times[:first], vectors[:first]

    def _shown(self, newest_s: float, *, span_s: float, num_pictures: int) -> "_Shown":
        """What shows the steps of a row that ends with the newest picture."""
        first_s = newest_s - span_s - _ROUNDING_S
        firsts = ((each, bisect_left(each, first_s)) for each in self._times.values())
        start_s = min(each[place] for each, place in firsts if place < len(each))
        num_steps = round(min(newest_s - start_s, span_s) * self._fps) + 1
        chosen: Int64[np.ndarray, " picture"] = clip_positions(num_steps, num_pictures)
        time_s: Float64[np.ndarray, " picture"] = chosen / self._fps
        wanted_s = newest_s - (time_s[-1] - time_s)
        valid = np.zeros((len(wanted_s), len(self.cameras)), dtype=np.bool_)
        width = next(len(each[0]) for each in self._vectors.values() if each)
        vectors = np.zeros((*valid.shape, width), np.float32)
        for number, camera in enumerate(self.cameras):
            times = np.asarray(self._times[camera], dtype=np.float64)
            if not len(times):
                continue
            distance = np.abs(times - wanted_s[:, None])
            nearest = distance.argmin(axis=1)
            valid[:, number] = distance.min(axis=1) <= self._farthest_s + _ROUNDING_S
            for picture in np.flatnonzero(valid[:, number]).tolist():
                vectors[picture, number] = self._vectors[camera][int(nearest[picture])]
        return _Shown(vectors, valid, time_s)

    def _embedded(self, shown: "_Shown") -> Float32[np.ndarray, " dim"]:
        return self._embedder.embed_frames(
            shown.vectors[None], shown.valid[None], shown.time_s[None].astype(np.float32)
        )[0]


class _Shown(NamedTuple):
    """Vectors "picture camera width" of what shows each time, and whether there is any."""

    vectors: Float32[np.ndarray, "picture camera width"]
    valid: Bool[np.ndarray, "picture camera"]
    time_s: Float64[np.ndarray, " picture"]
