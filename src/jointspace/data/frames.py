"""Decodes the pictures of a data set, and stores them resized."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jointspace.data.decode import decode_images, decode_video
from jointspace.data.frame_cache import cache_key, default_cache_dir, remove_stale, write_frames
from jointspace.data.resize import resize_frame
from jointspace.data.rosbag_pictures import decode_messages, messages_cache_key
from jointspace.data.schema import Finding, FrameSpan, ImageSpan, MessageSpan, RobotDataset
from jointspace.errors import DataError, InputError, did_you_mean

BLACK = 16
"""A picture whose brightest value is not above this shows nothing."""


def decode_span(span: FrameSpan) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decodes the frames of a span at their own size.

    Videos are decoded from their start: seeking is exact only at key frames.

    Args:
        span: where the frames lie.

    Yields:
        RGB frames, one per step.

    Raises:
        DataError: the file is missing or damaged, or ends before the span does.
        MissingExtraError: PyAV is not installed.
    """
    count = 0
    for frame in islice(_decode(span), span.first_frame, span.first_frame + span.num_frames):
        yield frame
        count += 1
    if count < span.num_frames:
        raise DataError(span.path, f"ends after {count} of the span's {span.num_frames} frames")


class FrameStore:
    """Resized frames of the episodes of a data set, memory-mapped from the cache.

    Attributes:
        cameras: the cameras it has, in the order of the data set's.
        image_px: side of the pictures.
    """

    def __init__(
        self,
        spans: Sequence[Mapping[str, FrameSpan]],
        files: Mapping[tuple[Path, str], Path],
        *,
        cameras: Sequence[str],
        image_px: int,
    ) -> None:
        self.cameras = tuple(cameras)
        self.image_px = image_px
        self._spans = tuple(spans)
        self._files = files
        self._open: dict[Path, np.ndarray] = {}

    def frames(
        self, episode_position: int, camera: str
    ) -> UInt8[np.ndarray, "time image_px image_px 3"]:
        """Returns the frames of one camera in one episode, without reading them yet.

        Args:
            episode_position: position in the data set's `episodes`, not the episode's index.
            camera: one of `cameras`.

        Returns:
            A read-only memory map: frame i belongs to step i.

        Raises:
            InputError: there is no such episode or camera.
        """
        file, steps = self.place(episode_position, camera)
        if file not in self._open:
            self._open[file] = np.load(file, mmap_mode="r")
        return self._open[file][steps]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the cache that hold the episodes' pictures, each once."""
        spans = (spans[camera] for spans in self._spans for camera in self.cameras)
        return tuple(dict.fromkeys(self._files[_source(span)] for span in spans))

    def place(self, episode_position: int, camera: str) -> tuple[Path, slice]:
        """Returns the file that holds the frames of one camera in one episode, and where in it.

        Args:
            episode_position: position in the data set's `episodes`, not the episode's index.
            camera: one of `cameras`.

        Returns:
            The file of the cache, and the frames' place in its array.

        Raises:
            InputError: there is no such episode or camera.
        """
        if not 0 <= episode_position < len(self._spans):
            raise InputError(
                f"frames: no episode at position {episode_position}; there are {len(self._spans)}"
            )
        if camera not in self.cameras:
            raise InputError(f"frames: no camera '{camera}'.{did_you_mean(camera, self.cameras)}")
        span = self._spans[episode_position][camera]
        return self._files[_source(span)], slice(span.first_frame, _stop(span))


def prepare_frames(
    dataset: RobotDataset,
    *,
    image_px: int,
    cameras: Sequence[str] = (),
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[RobotDataset, FrameStore]:
    """Decodes and resizes every picture of a data set once, and keeps the result on disk.

    Episodes whose pictures are missing, or end before their steps do, are left out with a finding;
    so no later step can meet a broken file or a wrong picture.

    Args:
        dataset: from `open_dataset`.
        image_px: side of the square pictures.
        cameras: cameras to use, by full name or its last part (`top`); empty means all.
        cache_dir: where the frames are kept; None means `$JOINTSPACE_CACHE` or the user's cache.
        progress: called with frames done and frames in all, from worker threads but never at once.

    Returns:
        The data set with the episodes and cameras that have pictures, and the store of them.

    Raises:
        DataError: no episode has all its pictures.
        InputError: there is no such camera.
        MissingExtraError: PyAV is not installed, and there are videos to decode.
        StorageError: the cache cannot be written; nothing half-written stays.
    """
    chosen = _choose(dataset.info.cameras, cameras)
    folder = default_cache_dir() if cache_dir is None else cache_dir
    complete = [e for e in dataset.episodes if all(camera in e.videos for camera in chosen)]
    wanted: dict[tuple[Path, str], FrameSpan] = {}
    for episode in complete:
        for camera in chosen:
            span = episode.videos[camera]
            previous = wanted.get(_source(span))
            if previous is None or _stop(previous) < _stop(span):
                wanted[_source(span)] = span
    sources = _fill_cache(list(wanted.values()), folder, image_px, progress)
    kept, findings = [], []
    for episode in dataset.episodes:
        reason = _missing_pictures(episode.videos, chosen, sources)
        if reason:
            findings.append(Finding("skipped", f"episode {episode.index}", reason))
        else:
            kept.append(replace(episode, videos={c: episode.videos[c] for c in chosen}))
    if not kept:
        raise DataError(
            dataset.info.path, f"no episode has all its pictures: {findings[0].message}"
        )
    store = FrameStore(
        [e.videos for e in kept],
        {key: source.file for key, source in sources.items()},
        cameras=chosen,
        image_px=image_px,
    )
    findings += dark_cameras(store, [e.index for e in kept])
    info = replace(dataset.info, cameras=chosen)
    found = (*dataset.findings, *findings)
    return replace(dataset, info=info, episodes=tuple(kept), findings=found), store


def dark_cameras(store: FrameStore, indices: Sequence[int]) -> tuple[Finding, ...]:
    """Finds the cameras that show nothing but black for whole episodes.

    Args:
        store: the pictures.
        indices: the episodes' indices, by position.

    Returns:
        At most one finding per camera.
    """
    findings = []
    for camera in store.cameras:
        dark = [
            index
            for position, index in enumerate(indices)
            if _is_dark(store.frames(position, camera))
        ]
        if dark:
            message = (
                f"all black in {len(dark)} of {len(indices)} episodes, as in episode {dark[0]}"
            )
            findings.append(Finding("warning", camera, message))
    return tuple(findings)


@dataclass(frozen=True)
class _Source:
    """What came of a source file: its frames in the cache, and why there are no more."""

    file: Path
    num_frames: int
    reason: str


class _Progress:
    """Counts frames over threads, and stops them all when one of them fails."""

    def __init__(self, total: int, report: Callable[[int, int], None] | None) -> None:
        self.stopped = threading.Event()
        self._done = 0
        self._total = total
        self._report = report
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done = min(self._done + count, self._total)
            if self._report is not None:
                self._report(self._done, self._total)


def _fill_cache(
    spans: Sequence[FrameSpan],
    folder: Path,
    image_px: int,
    report: Callable[[int, int], None] | None,
) -> dict[tuple[Path, str], _Source]:
    if not spans:
        return {}
    remove_stale(folder)
    progress = _Progress(sum(_stop(span) for span in spans), report)
    cores = os.cpu_count() or 1
    workers = min(cores, len(spans))
    # Decoding, colour conversion and resizing all run outside Python's lock.
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        jobs = [
            pool.submit(_fill_one, span, folder, image_px, progress, max(1, cores // workers))
            for span in spans
        ]
        try:
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            failed = next((job for job in done if job.exception()), None)
            if failed is not None:
                failed.result()
        except BaseException:
            # Also on Ctrl-C: without this the pool would first decode everything that is left.
            progress.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        return {_source(span): job.result() for span, job in zip(spans, jobs, strict=True)}


def _fill_one(
    span: FrameSpan, folder: Path, image_px: int, progress: _Progress, num_threads: int
) -> _Source:
    reasons: list[str] = []

    def resized() -> Iterator[UInt8[np.ndarray, "px px 3"]]:
        count = 0
        try:
            for frame in _decode(span, num_threads=num_threads):
                if progress.stopped.is_set():
                    raise _StoppedError
                yield resize_frame(frame, image_px=image_px)
                progress.add(1)
                count += 1
        except DataError as error:
            # The frames before the damage are good, and in a shared file may be whole episodes.
            if not count:
                raise
            reasons.append(error.cause)

    try:
        key = _cache_key(span, image_px=image_px)
    except OSError as error:
        return _Source(folder, 0, f"cannot be read: {error.strerror}")
    file = folder / f"{key}.npy"
    if file.is_file():
        count = len(np.load(file, mmap_mode="r"))
        progress.add(min(count, _stop(span)))
    else:
        try:
            count = write_frames(file, resized(), image_px=image_px)
        except DataError as error:
            return _Source(file, 0, error.cause)
    return _Source(file, count, reasons[0] if reasons else f"ends after {count} frames")


class _StoppedError(Exception):
    """Another thread failed, or the user pressed Ctrl-C; what this one wrote is thrown away."""


def _missing_pictures(
    spans: Mapping[str, FrameSpan],
    cameras: Sequence[str],
    sources: Mapping[tuple[Path, str], _Source],
) -> str:
    for camera in cameras:
        if camera not in spans:
            return f"no pictures of {camera}"
        span = spans[camera]
        source = sources.get(_source(span))
        if source is not None and source.num_frames < _stop(span):
            place = "/".join(span.path.parts[-2:])
            return f"{place} {source.reason}; frame {_stop(span) - 1} is needed"
    return ""


def _choose(known: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    chosen = []
    for name in wanted:
        matches = [c for c in known if c == name] or [c for c in known if c.endswith(f".{name}")]
        if len(matches) != 1:
            many = f" It could be {' or '.join(matches)}." if matches else did_you_mean(name, known)
            raise InputError(f"cameras: the data set has no one camera '{name}'.{many}")
        chosen.append(matches[0])
    return tuple(dict.fromkeys(chosen)) if wanted else tuple(known)


def _decode(
    span: FrameSpan, *, num_threads: int = 1
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    if isinstance(span, MessageSpan):
        return decode_messages(span)
    if isinstance(span, ImageSpan):
        return decode_images(span.path, column=span.column, root=span.root)
    return decode_video(span.path, num_threads=num_threads)


def _cache_key(span: FrameSpan, *, image_px: int) -> str:
    if isinstance(span, MessageSpan):
        return messages_cache_key(span, image_px=image_px)
    root = span.root if isinstance(span, ImageSpan) else None
    return cache_key(span.path, column=_source(span)[1], image_px=image_px, root=root)


def _source(span: FrameSpan) -> tuple[Path, str]:
    """What is decoded at once: a video, a column of a table, a topic of a bag."""
    if isinstance(span, MessageSpan):
        return span.path, span.topic
    return span.path, span.column if isinstance(span, ImageSpan) else ""


def _stop(span: FrameSpan) -> int:
    return span.first_frame + span.num_frames


def _is_dark(frames: UInt8[np.ndarray, "time px px 3"]) -> bool:
    # A few pictures settle it for nearly every episode; only dark ones are read whole.
    probe = frames[:: max(1, len(frames) // 4)]
    return bool(probe.max() <= BLACK and frames.max() <= BLACK)
