"""Encodes pictures as h264 in MP4: the same bytes for the same pictures, cheap to seek."""

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jointspace.errors import MissingExtraError

CODEC = "h264"
PIXEL_FORMAT = "yuv420p"
GROUP = 10
"""Frames between two that can be decoded alone: what a reader decodes at most to reach any."""

RATE_FACTOR = 18
PRESET = "veryfast"

_OPTIONS: Mapping[str, str] = {
    "crf": str(RATE_FACTOR),
    "preset": PRESET,
    "g": str(GROUP),
    # Frames that refer to later ones would need a shift of all timestamps.
    "bf": "0",
    # The number of threads decides the bytes, and so does what the encoder's lookahead finds in
    # memory: with it, one file in some dozens differs from the others of the same pictures.
    "threads": "1",
    "x264-params": "mbtree=0:rc-lookahead=0:scenecut=0:weightp=0",
}


class VideoEncoder:
    """Encodes the pictures of one camera, episode after episode, into one video.

    Frame i of the file lies at i / fps seconds exactly. What has been encoded is held in memory, at
    most a few hundred bytes per frame of 96 x 96 pixels.
    """

    def __init__(self, *, height_px: int, width_px: int, fps: int) -> None:
        """Begins a video.

        Args:
            height_px: height of the pictures, even.
            width_px: width of the pictures, even.
            fps: pictures per second.

        Raises:
            MissingExtraError: PyAV is not installed.
        """
        self._av = _import_av()
        self._content = io.BytesIO()
        # Without the muxer's version in the file.
        options = {"fflags": "+bitexact"}
        self._container = self._av.open(self._content, "w", format="mp4", options=options)
        self._stream = self._container.add_stream("libx264", rate=fps, options=dict(_OPTIONS))
        self._stream.height = height_px
        self._stream.width = width_px
        self._stream.pix_fmt = PIXEL_FORMAT
        self._step = Fraction(1, fps)
        self._stream.codec_context.time_base = self._step
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._num_frames = 0

    def add(self, pictures: UInt8[np.ndarray, "time height width 3"]) -> None:
        """Encodes the pictures of an episode, which can be decoded without those before.

        Args:
            pictures: RGB, of the size that was announced.
        """
        for i, picture in enumerate(pictures):
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            # Colour is stored once per 2 x 2 pixels and repeated by decoders: the mean of the four
            # is nearest to them.
            frame = self._reformatter.reformat(frame, format=PIXEL_FORMAT, interpolation="AREA")
            frame.pts = self._num_frames
            frame.time_base = self._step
            if i == 0:
                frame.pict_type = self._av.video.frame.PictureType.I
            self._container.mux(self._stream.encode(frame))
            self._num_frames += 1

    def finish(self) -> bytes:
        """Ends the video.

        Returns:
            The file's content.
        """
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._content.getvalue()


def _import_av() -> Any:
    try:
        import av  # noqa: PLC0415 - only pictures need it
    except ImportError:
        raise MissingExtraError("av", "video") from None
    return av
