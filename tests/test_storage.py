"""Files are written whole or not at all."""

import errno
import os

import pytest

from jointspace.errors import StorageError
from jointspace.storage import write_whole


def test_text_and_bytes_arrive_and_missing_folders_are_made(tmp_path):
    path = tmp_path / "deep" / "er" / "file"
    write_whole(path, "grüße")
    assert path.read_text(encoding="utf-8") == "grüße"
    write_whole(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, failing):
    path = tmp_path / "file"
    write_whole(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(failing, full)
        with pytest.raises(StorageError, match=r"file: could not be written: No space left"):
            write_whole(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
