"""Features of pictures on disk: computed once, whole or not at all, for one network."""

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest

from jointspace.config import AugmentConfig, DataConfig, TextConfig
from jointspace.data import feature_store
from jointspace.data.augment import augment_batch
from jointspace.data.feature_store import fill_features
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.errors import InputError, StorageError
from tests.data.memory_dataset import CAMERAS, PX, make_dataset, make_episode, make_store

SHAPE = (2, 3)


class Reader:
    """Features whose numbers tell the picture, and how many pictures were read."""

    def __init__(self, *, stop_after=None):
        self.num_read = 0
        self.stop_after = stop_after

    def __call__(self, pictures):
        if self.stop_after is not None and self.num_read >= self.stop_after:
            raise KeyboardInterrupt
        self.num_read += len(pictures)
        features = np.zeros((len(pictures), *SHAPE), dtype=np.float32)
        features[:] = pictures[:, 0, 0, :].astype(np.float32)[:, None] / 7
        features[:, 1] *= 2
        return features


@pytest.fixture
def dataset():
    episodes = [
        make_episode(index, num_frames=5 + index, cameras=CAMERAS, instruction="go")
        for index in range(3)
    ]
    return make_dataset(episodes, cameras=CAMERAS)


@pytest.fixture
def store(dataset, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    return make_store(dataset, folder)


def fill(store, read, tmp_path, **changes):
    settings = {"network": "abc", "feature_shape": SHAPE, "dtype": "float32"}
    return fill_features(store, read, cache_dir=tmp_path / "cache", **{**settings, **changes})


def test_each_step_has_the_features_of_its_picture(store, tmp_path):
    features = fill(store, Reader(), tmp_path)
    assert features.cameras == store.cameras
    for position, camera in ((0, "top"), (2, "wrist")):
        expected = Reader()(store.frames(position, camera))
        np.testing.assert_array_equal(features.frames(position, camera), expected)
    with pytest.raises(InputError, match=r"no camera 'tpo'. Did you mean 'top'"):
        features.frames(0, "tpo")
    with pytest.raises(InputError, match="no episode at position 3"):
        features.frames(3, "top")


def test_what_is_there_is_not_read_again_and_progress_still_counts_to_the_end(store, tmp_path):
    fill(store, Reader(), tmp_path)
    again, told = Reader(), []
    fill(store, again, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert again.num_read == 0
    assert told[-1] == (36, 36)


@pytest.mark.parametrize("change", [{"network": "abd"}, {"dtype": "float16"}])
def test_another_network_or_type_finds_nothing_of_the_first(store, tmp_path, change):
    fill(store, Reader(), tmp_path)
    other = Reader()
    features = fill(store, other, tmp_path, **change)
    assert other.num_read == 36
    assert features.frames(0, "top").dtype == change.get("dtype", "float32")


def test_other_pictures_find_nothing_of_the_first(dataset, store, tmp_path):
    fill(store, Reader(), tmp_path)
    first = next(iter(store.files))
    first.rename(first.with_name("changed.npy"))  # the name is a digest of the content
    spans = {(span.path, ""): file for span, file in zip(_spans(dataset), store.files, strict=True)}
    files = {
        key: file if file.exists() else file.with_name("changed.npy") for key, file in spans.items()
    }
    other, changed = (
        Reader(),
        type(store)([e.videos for e in dataset.episodes], files, cameras=CAMERAS, image_px=PX),
    )
    fill(changed, other, tmp_path)
    assert other.num_read == 5


def _spans(dataset):
    return [span for e in dataset.episodes for span in e.videos.values()]


def test_what_was_killed_continues_where_it_stopped(store, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_PICTURES_PER_PART", 2)
    with pytest.raises(KeyboardInterrupt):
        fill(store, Reader(stop_after=7), tmp_path)
    again = Reader()
    features = fill(store, again, tmp_path)
    assert again.num_read == 36 - 7
    np.testing.assert_array_equal(features.frames(1, "top"), Reader()(store.frames(1, "top")))
    assert all(each.suffix == ".npy" for each in (tmp_path / "cache" / "features").iterdir())


def test_a_process_that_finds_the_parts_joined_takes_the_result(store, tmp_path, monkeypatch):
    whole = fill(store, Reader(), tmp_path)
    file = whole.files[0]
    content = file.read_bytes()
    file.unlink()

    def other_process(parts, target, **settings):
        target.write_bytes(content)
        raise FileNotFoundError(errno.ENOENT, "gone", str(parts[0]))

    monkeypatch.setattr(feature_store, "_join", other_process)
    features = fill(store, Reader(), tmp_path)
    np.testing.assert_array_equal(features.frames(0, "top"), Reader()(store.frames(0, "top")))


def test_a_full_disk_leaves_no_features_that_are_half_written(store, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        fill(store, Reader(), tmp_path)
    assert not list((tmp_path / "cache" / "features").glob("*.npy"))
    monkeypatch.undo()
    monkeypatch.setattr(feature_store, "force_folder", full)
    with pytest.raises(StorageError, match=r"\.npy: cannot be written: No space left"):
        fill(store, Reader(), tmp_path)


def test_a_disk_that_is_too_small_is_told_before_anything_is_read(store, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    read = Reader()
    with pytest.raises(StorageError, match=r"need 864 bytes, and 100 bytes are free; set JOINT"):
        fill(store, read, tmp_path)
    assert read.num_read == 0


@pytest.mark.parametrize(
    ("number", "text"), [(864, "864 bytes"), (5_400_000, "5.4 MB"), (3_200_000_000_000, "3.2 TB")]
)
def test_sizes_are_readable(number, text):
    assert feature_store._readable(number) == text


def test_the_size_is_told(store, tmp_path):
    size = fill(store, Reader(), tmp_path, dtype="float16").size
    assert size.startswith("36 pictures x 2 x 3 in float16: 432 bytes in ")


def test_rows_hold_features_where_they_held_pictures(dataset, store, tmp_path):
    features = fill(store, Reader(), tmp_path, dtype="float16")
    config = DataConfig(image_px=PX, window_s=0.3, window_frames=2)
    preprocessor = Preprocessor.fit(dataset, train=[0, 1, 2], config=config, text=TextConfig())
    rows = [
        SampleSet.of_windows(dataset, each, preprocessor, episodes=[0, 2])
        for each in (store, features)
    ]
    pixels, read = (each.batch(range(len(each))).inputs["vision"] for each in rows)
    assert read.values.dtype == np.float16
    np.testing.assert_array_equal(read.valid, pixels.valid)
    np.testing.assert_array_equal(read.time_s, pixels.time_s)
    expected = Reader()(pixels.values.reshape(-1, PX, PX, 3)).astype(np.float16)
    np.testing.assert_array_equal(read.values.reshape(-1, *SHAPE), expected)


def test_features_are_never_changed_at_random(dataset, store, tmp_path):
    features = fill(store, Reader(), tmp_path)
    config = DataConfig(image_px=PX, window_s=0.3)
    preprocessor = Preprocessor.fit(dataset, train=[0, 1, 2], config=config, text=TextConfig())
    rows = SampleSet.of_windows(dataset, features, preprocessor, episodes=[0, 2])
    batch = rows.batch(range(len(rows)))
    changed = augment_batch(
        batch,
        config=AugmentConfig(shift_px=4),
        word_dropout=0.0,
        tokenizer=preprocessor.tokenizer,
        max_tokens=8,
        rng=np.random.default_rng(0),
    )
    assert changed.inputs["vision"] is batch.inputs["vision"]
    assert not np.array_equal(changed.inputs["action"].values, batch.inputs["action"].values)
