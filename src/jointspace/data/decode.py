"""Decodes videos and picture columns in order, frame by frame, up to where a file is damaged."""

import heapq
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from PIL import Image

from jointspace.errors import DataError, MissingExtraError

_ROWS_AT_ONCE = 64
"""Rows of a picture column held in memory."""


def decode_video(
    path: Path, *, num_threads: int = 1
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decodes a video from its first frame on.

    Every packet of the file must come out as a frame: a decoder that silently drops a damaged one
    would pair each later step with a wrong picture.

    Args:
        path: the file.
        num_threads: threads of the decoder.

    Yields:
        RGB frames in order of presentation.

    Raises:
        DataError: the file is missing, empty, no video, or (after the frames before) damaged.
        MissingExtraError: PyAV is not installed.
    """
    av = _import_av()
    _require_content(path)
    index = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(path, "holds no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = num_threads
            declared = stream.frames
            reformatter = av.video.reformatter.VideoReformatter()
            pending: list[int] = []
            for packet in container.demux(stream):
                if packet.pts is not None and not packet.is_discard:
                    heapq.heappush(pending, packet.pts)
                for frame in packet.decode():
                    expected = heapq.heappop(pending) if pending else frame.pts
                    if frame.is_corrupt or frame.pts not in {None, expected}:
                        raise DataError(path, f"frame {index} is damaged")
                    yield reformatter.reformat(frame, format="rgb24").to_ndarray()
                    index += 1
    except av.error.FFmpegError as error:
        raise DataError(
            path, f"cannot be decoded from frame {index} on: {error.strerror}"
        ) from None
    if index < declared:
        raise DataError(path, f"ends after {index} of {declared} frames")


def decode_images(
    path: Path, *, column: str, root: Path
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decodes a column of encoded pictures.

    Args:
        path: the Parquet file.
        column: a struct of `bytes` and `path`, or bare bytes.
        root: folder that a `path` is relative to.

    Yields:
        RGB pictures in the order of the rows.

    Raises:
        DataError: the file cannot be read, or (after the pictures before) one of them cannot.
    """
    _require_content(path)
    try:
        with pq.ParquetFile(path) as parquet:
            batches = parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[column])
            row = 0
            for batch in batches:
                for cell in batch.column(0).to_pylist():
                    yield _picture(cell, path, row, root)
                    row += 1
    except (OSError, pa.ArrowException) as error:
        raise DataError(path, f"column '{column}' cannot be read: {error}") from None


@dataclass(frozen=True)
class VideoFacts:
    """What a video file says about itself.

    Attributes:
        codec: name of the format, such as `h264` or `av1`.
        width: in pixels.
        height: in pixels.
        num_frames: 0 if it does not say.
        rate_hz: mean frame rate; 0 if it does not say.
    """

    codec: str
    width: int
    height: int
    num_frames: int
    rate_hz: float


def describe_video(path: Path) -> VideoFacts:
    """Reads what a video file says about itself, without decoding it.

    Args:
        path: the file.

    Returns:
        Its facts.

    Raises:
        DataError: the file is missing, empty, or no video.
        MissingExtraError: PyAV is not installed.
    """
    av = _import_av()
    _require_content(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(path, "holds no video")
            stream = container.streams.video[0]
            # The decoder's name may be the library's (libdav1d); the codec's is the format's (av1).
            codec = stream.codec_context.codec.canonical_name
            rate_hz = round(float(stream.average_rate or 0), 3)
            return VideoFacts(codec, stream.width, stream.height, stream.frames, rate_hz)
    except av.error.FFmpegError as error:
        raise DataError(path, f"cannot be opened as a video: {error.strerror}") from None


def _import_av() -> Any:
    try:
        import av  # noqa: PLC0415 - only decoding needs it
    except ImportError:
        raise MissingExtraError("av", "video") from None
    return av


def _require_content(path: Path) -> None:
    if not path.is_file():
        raise DataError(path, "no such file")
    if path.stat().st_size == 0:
        raise DataError(path, "the file is empty")


def _picture(cell: Any, path: Path, row: int, root: Path) -> UInt8[np.ndarray, "height width 3"]:
    content, name = (
        (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    )
    source: Any = io.BytesIO(content) if content else root / name if name else None
    if source is None:
        raise DataError(path, f"row {row} holds no picture")
    try:
        with Image.open(source) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise DataError(path, f"the picture of row {row} cannot be decoded: {error}") from None
