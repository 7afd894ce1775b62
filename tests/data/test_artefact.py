import errno
import os

import pytest

from jointspace.data.artefact import read_json, write_json
from jointspace.errors import RunFolderError, StorageError


def test_what_is_written_is_read_back(tmp_path):
    payload = {"version": 3, "text": "öl\ud800", "numbers": [0.1, -1e-9]}
    write_json(tmp_path / "new" / "file.json", payload)
    assert read_json(tmp_path / "new" / "file.json", version=3) == payload


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_json(path, {"version": 1, "old": True})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"file.json: could not be written: No space left"):
        write_json(path, {"version": 1})
    assert read_json(path, version=1) == {"version": 1, "old": True}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no valid JSON"),
        (b"\xff", "is no valid JSON"),
        (b"[1]", "expected a JSON object, got list"),
        (b"{}", "has format version None, this jointspace reads 1; train again"),
    ],
)
def test_what_is_no_artefact_is_refused(tmp_path, content, message):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=message):
        read_json(path, version=1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"gone.json: cannot be read: No such file"):
        read_json(tmp_path / "gone.json", version=1)
