"""What a frozen network made of every picture, on disk: computed once, then read as pictures are.

Nothing here knows the network: who computes passes a function from pictures to features.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from jointspace.data.frame_cache import default_cache_dir, remove_stale
from jointspace.data.frames import FrameStore
from jointspace.errors import StorageError
from jointspace.storage import force_folder, write_whole

FEATURES_VERSION = 1
"""Part of every key: raise it when the same network makes other features of a picture."""

_PICTURES_PER_PART = 256

FeatureType = Literal["float16", "float32"]
ReadPictures = Callable[
    [UInt8[np.ndarray, "picture px px 3"]], Float[np.ndarray, "picture token channel"]
]


class FeatureStore:
    """Features of the pictures of a data set, memory-mapped; takes the place of a `FrameStore`.

    Attributes:
        cameras: as the pictures' store.
        image_px: side of the pictures that the features were made of.
        files: where the features lie.
    """

    def __init__(self, pictures: FrameStore, files: Mapping[Path, Path]) -> None:
        self.cameras = pictures.cameras
        self.image_px = pictures.image_px
        self.files = tuple(dict.fromkeys(files.values()))
        self._pictures = pictures
        self._files = files
        self._open: dict[Path, np.ndarray] = {}

    @property
    def size(self) -> str:
        """How much there is, for a reader."""
        shapes = [np.load(file, mmap_mode="r") for file in self.files]
        count = sum(len(each) for each in shapes)
        num_tokens, num_channels = shapes[0].shape[1:]
        num_bytes = sum(each.nbytes for each in shapes)
        return (
            f"{count:,} pictures x {num_tokens} x {num_channels} in {shapes[0].dtype}: "
            f"{_readable(num_bytes)} in {self.files[0].parent}"
        )

    def frames(self, episode_position: int, camera: str) -> Float[np.ndarray, "time token channel"]:
        """Returns the features of one camera's pictures in one episode, without reading them yet.

        Args:
            episode_position: position in the data set's `episodes`, not the episode's index.
            camera: one of `cameras`.

        Returns:
            A read-only memory map: entry i belongs to step i.

        Raises:
            InputError: there is no such episode or camera.
        """
        pictures, steps = self._pictures.place(episode_position, camera)
        file = self._files[pictures]
        if file not in self._open:
            self._open[file] = np.load(file, mmap_mode="r")
        return self._open[file][steps]


def fill_features(
    store: FrameStore,
    read: ReadPictures,
    *,
    network: str,
    feature_shape: tuple[int, int],
    dtype: FeatureType,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureStore:
    """Computes the features of every picture that has none yet, and keeps them on disk.

    Each file of pictures has one of features, named by the content of the pictures and by the
    network, so that another network, or other pictures, find nothing of this one. What was killed
    continues where it stopped; processes that fill the same cache do not disturb each other.

    Args:
        store: the pictures.
        read: what makes features of pictures.
        network: names the network and all that its features depend on, beside the pictures.
        feature_shape: tokens and channels of a picture.
        dtype: in which features are stored.
        cache_dir: where they are kept, in a folder `features`; None means `$JOINTSPACE_CACHE` or
            the user's cache.
        progress: called with pictures done and pictures in all.

    Returns:
        The features.

    Raises:
        StorageError: the disk has not enough space, or a file cannot be written.
    """
    folder = (default_cache_dir() if cache_dir is None else cache_dir) / "features"
    remove_stale(folder)
    files = {each: folder / f"{_key(each, network, dtype)}.npy" for each in store.files}
    counts = {each: len(np.load(each, mmap_mode="r")) for each in files}
    bytes_each = int(np.prod(feature_shape)) * np.dtype(dtype).itemsize
    missing = sum(counts[each] for each, file in files.items() if not file.is_file())
    _check_space(folder, missing * bytes_each)
    total, done = sum(counts.values()), 0
    for pictures, file in files.items():
        before = done

        def report(count: int, before: int = before) -> None:
            if progress is not None:
                progress(before + count, total)

        if not file.is_file():
            _fill_one(pictures, file, read, shape=feature_shape, dtype=dtype, report=report)
        done += counts[pictures]
        report(counts[pictures])
    return FeatureStore(store, files)


def _fill_one(
    pictures: Path,
    file: Path,
    read: ReadPictures,
    *,
    shape: tuple[int, int],
    dtype: FeatureType,
    report: Callable[[int], None],
) -> None:
    frames = np.load(pictures, mmap_mode="r")
    parts = file.with_suffix(".parts")
    names = []
    for start in range(0, len(frames), _PICTURES_PER_PART):
        part = parts / f"{start:09d}"
        names.append(part)
        if not part.is_file():
            block = np.array(frames[start : start + _PICTURES_PER_PART])
            write_whole(part, read(block).astype(dtype).tobytes())
        report(min(start + _PICTURES_PER_PART, len(frames)))
    try:
        _join(names, file, shape=(len(frames), *shape), dtype=dtype)
    except FileNotFoundError:
        # Another process has joined the parts and taken them away.
        if not file.is_file():
            raise
    except OSError as error:
        raise StorageError(f"{file}: cannot be written: {error.strerror or error}") from None
    shutil.rmtree(parts, ignore_errors=True)


def _join(parts: list[Path], file: Path, *, shape: tuple[int, ...], dtype: FeatureType) -> None:
    handle, name = tempfile.mkstemp(prefix=f"{file.stem}.", suffix=".part", dir=file.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            for part in parts:
                out.write(part.read_bytes())
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
        force_folder(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _key(pictures: Path, network: str, dtype: FeatureType) -> str:
    # The name of a file of pictures is a digest of its content and of how it was resized.
    text = f"{FEATURES_VERSION} {pictures.stem} {network} {dtype}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _check_space(folder: Path, num_bytes: int) -> None:
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if num_bytes > free:
        raise StorageError(
            f"{folder}: features need {_readable(num_bytes)}, and {_readable(free)} are free; set "
            "JOINTSPACE_CACHE to a larger disk, lower model.vision.grid, or set "
            "model.vision.cache_features to 'float16' or 'off'"
        )


def _readable(num_bytes: int) -> str:
    number = float(num_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
