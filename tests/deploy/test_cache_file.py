import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jointspace.deploy.cache import CacheStatistics, EmbeddingCache
from jointspace.deploy.cache_file import EmbeddingFile
from jointspace.errors import InputError, StorageError

DIM = 8
RECORD_BYTES = 16 + 4 * DIM + 8


def key(number):
    return number.to_bytes(16, "big")


def vector(number):
    return np.random.default_rng(number).normal(size=DIM).astype(np.float32)


def filled(folder, *numbers, version="a"):
    with EmbeddingFile(folder, version=version, dim=DIM) as file:
        for number in numbers:
            file.put(key(number), vector(number))
    return file.path


def reader(folder, *, version="a", dim=DIM):
    return EmbeddingFile(folder, version=version, dim=dim, writable=False)


def test_what_was_put_is_there_for_the_next_reader_and_writer_bit_by_bit(tmp_path):
    filled(tmp_path / "new", 1, 2)
    filled(tmp_path / "new", 2, 3)
    file = reader(tmp_path / "new")
    assert len(file) == 3
    assert key(1) in file
    assert key(4) not in file
    assert file.get(key(4)) is None
    for number in (1, 2, 3):
        np.testing.assert_array_equal(file.get(key(number)), vector(number))
    assert file.path.stat().st_size % RECORD_BYTES == len(file._head) % RECORD_BYTES


def test_a_key_that_is_there_and_a_vector_that_is_not_finite_are_not_written(tmp_path):
    with EmbeddingFile(tmp_path, version="a", dim=DIM) as file:
        assert file.put(key(1), vector(1))
        assert not file.put(key(1), vector(2))
        assert not file.put(key(2), np.full(DIM, np.nan, np.float32))
        size = file.path.stat().st_size
        assert len(file) == 1
    np.testing.assert_array_equal(reader(tmp_path).get(key(1)), vector(1))
    assert file.path.stat().st_size == size


def test_versions_and_dims_have_files_of_their_own(tmp_path):
    filled(tmp_path, 1, version="a")
    filled(tmp_path, 2, version="b")
    assert key(2) not in reader(tmp_path, version="a")
    assert key(1) not in reader(tmp_path, version="b")
    with pytest.raises(StorageError, match=r"could not be opened: No such file"):
        reader(tmp_path, version="a", dim=DIM + 1)


def test_half_a_record_at_the_end_is_not_read_and_is_written_over(tmp_path):
    path = filled(tmp_path, 1, 2)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"x" * (RECORD_BYTES - 1))
    assert len(reader(tmp_path)) == 2
    filled(tmp_path, 3)
    assert path.stat().st_size == whole + RECORD_BYTES
    np.testing.assert_array_equal(reader(tmp_path).get(key(3)), vector(3))


@pytest.mark.parametrize("part", ["key", "vector", "checksum"])
def test_a_damaged_record_counts_as_missing_and_can_be_written_again(tmp_path, part):
    path = filled(tmp_path, 1, 2)
    content = bytearray(path.read_bytes())
    place = {"key": -RECORD_BYTES, "vector": -20, "checksum": -1}[part]
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with EmbeddingFile(tmp_path, version="a", dim=DIM) as file:
        assert file.get(key(2)) is None
        np.testing.assert_array_equal(file.get(key(1)), vector(1))
        assert file.put(key(2), vector(2))
    np.testing.assert_array_equal(reader(tmp_path).get(key(2)), vector(2))


def test_another_file_of_that_name_is_refused(tmp_path):
    path = filled(tmp_path, 1)
    path.write_bytes(b"something else")
    with pytest.raises(StorageError, match="no file of embeddings of this version; delete it"):
        reader(tmp_path)
    with pytest.raises(StorageError, match="no file of embeddings of this version; delete it"):
        EmbeddingFile(tmp_path, version="a", dim=DIM)


def test_a_second_writer_is_refused_while_the_first_is_open_and_readers_are_not(tmp_path):
    with EmbeddingFile(tmp_path, version="a", dim=DIM) as first:
        first.put(key(1), vector(1))
        with pytest.raises(StorageError, match="another process writes it"):
            EmbeddingFile(tmp_path, version="a", dim=DIM)
        assert len(reader(tmp_path)) == 1
    filled(tmp_path, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": b"short"}, "a key has 5 bytes; wanted 16"),
        ({"vector": vector(0)[1:]}, r"float32 of shape \(7,\); wanted float32 of shape \(8,\)"),
        ({"vector": vector(0).astype(np.float64)}, r"is float64 of shape \(8,\)"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, change, message):
    given = {"key": key(1), "vector": vector(1)} | change
    with (
        EmbeddingFile(tmp_path, version="a", dim=DIM) as file,
        pytest.raises(InputError, match=message),
    ):
        file.put(given["key"], given["vector"])


def test_a_closed_or_unwritable_file_and_wrong_arguments_are_refused(tmp_path):
    filled(tmp_path, 1)
    file = reader(tmp_path)
    with pytest.raises(InputError, match="was opened to read"):
        file.put(key(2), vector(2))
    file.close()
    file.close()
    with pytest.raises(InputError, match="was closed"):
        file.get(key(1))
    with pytest.raises(InputError, match="version is empty"):
        reader(tmp_path, version="")
    with pytest.raises(InputError, match="dim is 0"):
        reader(tmp_path, dim=0)


def test_a_full_disk_leaves_whole_records_and_says_so(tmp_path, monkeypatch):
    real = os.pwrite

    def full(descriptor, payload, offset):
        if len(payload) < RECORD_BYTES:
            raise OSError(28, "No space left on device")
        return real(descriptor, payload[:10], offset)

    with EmbeddingFile(tmp_path, version="a", dim=DIM) as file:
        file.put(key(1), vector(1))
        whole = file.path.stat().st_size
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="could not be written: No space left"):
            file.put(key(2), vector(2))
        monkeypatch.setattr(os, "pwrite", real)
        assert file.path.stat().st_size == whole
        assert key(2) not in file
        assert file.put(key(2), vector(2))
    np.testing.assert_array_equal(reader(tmp_path).get(key(2)), vector(2))


def test_threads_add_and_read_without_losing_a_record(tmp_path):
    with EmbeddingFile(tmp_path, version="a", dim=DIM) as file:

        def work(seed):
            for number in np.random.default_rng(seed).permutation(50).tolist():
                file.put(key(number), vector(number))
                np.testing.assert_array_equal(file.get(key(number)), vector(number))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(file) == 50
    assert file.path.stat().st_size == len(file._head) + 50 * RECORD_BYTES


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_file_of_whole_records(tmp_path):
    program = (
        "import sys, pathlib, itertools, numpy as np\n"
        "from jointspace.deploy.cache_file import EmbeddingFile\n"
        "file = EmbeddingFile(pathlib.Path(sys.argv[1]), version='a', dim=8)\n"
        "for number in itertools.count(len(file)):\n"
        "    file.put(number.to_bytes(16, 'big'), np.full(8, number, np.float32))\n"
        "    if number % 100 == 0: print(number, flush=True)\n"
    )
    last = 0
    for wait_s in (0.0, 0.01, 0.03):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
        ) as child:
            child.stdout.readline()
            time.sleep(wait_s)
            child.send_signal(signal.SIGKILL)
        file = reader(tmp_path)
        assert len(file) > last
        last = len(file)
        for number in range(last):
            np.testing.assert_array_equal(
                file.get(key(number)), np.full(8, number, np.float32), strict=True
            )


# --- below a cache in memory --------------------------------------------------------------------


def test_what_memory_forgot_comes_from_the_file_and_is_held_again(tmp_path):
    with EmbeddingFile(tmp_path, version="a", dim=DIM) as file:
        cache = EmbeddingCache(max_entries=1, file=file)
        for number in (1, 2):
            assert cache.put(key(number), vector(number))
        for _ in range(2):
            np.testing.assert_array_equal(cache.get(key(1)), vector(1))
        assert cache.get(key(3)) is None
        assert key(2) in cache
        assert not cache.put(key(4), np.full(DIM, np.inf, np.float32))
        assert cache.statistics == CacheStatistics(
            hits=2,
            misses=1,
            stored=2,
            rejected=1,
            evicted=2,
            entries=1,
            bytes=16 + 4 * DIM,
            file_hits=1,
            file_entries=2,
        )
        cache.get(key(1))[:] = 7
        np.testing.assert_array_equal(cache.get(key(1)), vector(1))


def test_a_file_opened_to_read_is_asked_and_never_written(tmp_path):
    path = filled(tmp_path, 1)
    size = path.stat().st_size
    cache = EmbeddingCache(file=reader(tmp_path), copies=False)
    assert cache.put(key(2), vector(2))
    view = cache.get(key(1))
    np.testing.assert_array_equal(view, vector(1))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 7
    assert path.stat().st_size == size
    cache.clear()
    assert cache.get(key(2)) is None
