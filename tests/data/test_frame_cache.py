import os
import shutil
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointspace.data.frame_cache import cache_key, default_cache_dir, remove_stale, write_frames
from jointspace.errors import StorageError


def _frames(count, px=4):
    return np.random.default_rng(0).integers(0, 255, size=(count, px, px, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 1234])
def test_what_is_written_loads_as_a_plain_array(tmp_path, count):
    file = tmp_path / "new" / "frames.npy"
    frames = _frames(count)
    assert write_frames(file, iter(frames), image_px=4) == count
    np.testing.assert_array_equal(np.load(file), frames)
    assert [p.name for p in file.parent.iterdir()] == ["frames.npy"]


def test_an_error_while_decoding_passes_and_leaves_nothing(tmp_path):
    def broken():
        yield from _frames(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frames(tmp_path / "frames.npy", broken(), image_px=4)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "frames.npy"
    write_frames(file, _frames(3), image_px=4)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"frames\.npy: cannot be written: No space left"):
        write_frames(file, _frames(5), image_px=4)
    assert [p.name for p in tmp_path.iterdir()] == ["frames.npy"]
    assert len(np.load(file)) == 3


def test_a_cache_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_frames(tmp_path / "file" / "frames.npy", _frames(1), image_px=4)


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    file = tmp_path / "frames.npy"
    frames = _frames(200)
    barrier = threading.Barrier(4)

    def write():
        barrier.wait()
        for _ in range(5):
            write_frames(file, frames, image_px=4)
            np.testing.assert_array_equal(np.load(file), frames)

    errors = []
    threads = [threading.Thread(target=_catching, args=(write, errors)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [p.name for p in tmp_path.iterdir()] == ["frames.npy"]


def _catching(function, errors):
    try:
        function()
    except (StorageError, OSError, ValueError, AssertionError) as error:
        errors.append(error)


def test_a_key_names_content_size_and_column(tmp_path):
    file, copy = tmp_path / "a.mp4", tmp_path / "b.mp4"
    file.write_bytes(b"some frames")
    shutil.copy(file, copy)
    key = cache_key(file, column="", image_px=64)
    assert cache_key(copy, column="", image_px=64) == key
    others = {
        cache_key(file, column="", image_px=32),
        cache_key(file, column="image", image_px=64),
    }
    file.write_bytes(b"some frameZ")
    others.add(cache_key(file, column="", image_px=64))
    assert len(others | {key}) == 4


def test_a_large_file_that_changes_in_its_middle_gets_another_key(tmp_path):
    file = tmp_path / "large.mp4"
    file.write_bytes(bytes(9 << 20))
    os.utime(file, ns=(1, 1))
    key = cache_key(file, column="", image_px=64)
    with file.open("r+b") as handle:
        handle.seek(4 << 20)
        handle.write(b"other")
    assert cache_key(file, column="", image_px=64) != key


def test_only_old_remains_of_killed_processes_are_removed(tmp_path):
    for name in ("old.part", "new.part", "old.npy"):
        (tmp_path / name).write_bytes(b"")
    long_ago = time.time() - 2 * 24 * 3600
    for name in ("old.part", "old.npy"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    remove_stale(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.part", "old.npy"]


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("JOINTSPACE_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("JOINTSPACE_CACHE")
    assert default_cache_dir().parts[-3:] == (".cache", "jointspace", "frames")


def _table(file, cells):
    pq.write_table(pa.table({"image": pa.array(cells, _CELL)}), file)
    return file


_CELL = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize("content", [None, b""])
def test_pictures_that_a_table_only_names_are_part_of_its_key(tmp_path, content):
    table = _table(
        tmp_path / "t.parquet",
        [{"bytes": b"png", "path": "0.png"}, {"bytes": content, "path": "1.png"}, None],
    )
    roots = [tmp_path / name for name in ("a", "b")]
    for root in roots:
        root.mkdir()
        for name in ("0.png", "1.png"):
            (root / name).write_bytes(b"old")
            os.utime(root / name, ns=(1, 1))

    def key(root=roots[0]):
        return cache_key(table, column="image", image_px=64, root=root)

    first = key()
    assert key() == first
    (roots[0] / "0.png").write_bytes(b"not the picture of any row")
    assert key() == first
    keys = {first, key(roots[1])}
    os.utime(roots[0] / "1.png", ns=(2, 2))
    keys.add(key())
    (roots[0] / "1.png").write_bytes(b"longer")
    os.utime(roots[0] / "1.png", ns=(1, 1))
    keys.add(key())
    (roots[0] / "1.png").unlink()
    keys.add(key())
    assert len(keys) == 5


def test_embedded_pictures_have_one_key_wherever_the_table_lies(tmp_path):
    table = _table(tmp_path / "t.parquet", [{"bytes": b"png", "path": "0.png"}])
    (tmp_path / "0.png").write_bytes(b"other")
    key = cache_key(table, column="image", image_px=64)
    for root in (tmp_path, tmp_path / "nowhere"):
        assert cache_key(table, column="image", image_px=64, root=root) == key


def test_bare_bytes_and_broken_tables_have_a_key(tmp_path):
    bare, broken = tmp_path / "bare.parquet", tmp_path / "broken.parquet"
    pq.write_table(pa.table({"image": pa.array([b"png"])}), bare)
    broken.write_bytes(b"PAR1 no table")
    for file in (bare, broken):
        key = cache_key(file, column="image", image_px=64)
        assert cache_key(file, column="image", image_px=64, root=tmp_path) == key
