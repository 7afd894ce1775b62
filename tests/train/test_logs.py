"""The log: whole lines, nothing beyond the checkpoint, the same numbers in TensorBoard."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jointspace.errors import StorageError
from jointspace.train.logs import TrainLog, read_log


@pytest.fixture
def open_log(tmp_path):
    logs = []

    def make(**changes):
        arguments = {"num_steps": 9, "show_progress": False} | changes
        log = TrainLog(tmp_path / "log.jsonl", tensorboard_folder=tmp_path / "tb", **arguments)
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.close()


def record(step, loss=0.5):
    return {"kind": "train", "step": step, "loss": loss, "pairs": {"a->b": 1.5}, "rows": "windows"}


def test_records_read_back_in_order(open_log, tmp_path):
    log = open_log()
    log.write(record(1))
    log.write(record(2, loss=0.25))
    assert read_log(tmp_path / "log.jsonl") == [record(1), record(2, loss=0.25)]


def test_tensorboard_gets_every_number_under_its_kind(open_log, tmp_path):
    log = open_log()
    log.write(record(3, loss=0.25))
    log.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/pairs/a->b"}
    (scalar,) = events.Scalars("train/loss")
    assert (scalar.step, scalar.value) == (3, 0.25)


def test_a_continued_run_drops_what_lies_beyond_its_checkpoint(open_log, tmp_path):
    lines = [json.dumps(record(step)) for step in (1, 2, 3)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + '\n{"kind": "tr')
    log = open_log(first_step=2)
    log.write(record(3, loss=9.0))
    assert read_log(tmp_path / "log.jsonl") == [record(1), record(2), record(3, loss=9.0)]


def test_a_new_run_begins_an_empty_log(open_log, tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps(record(1)) + "\n")
    open_log()
    assert read_log(tmp_path / "log.jsonl") == []
    assert read_log(tmp_path / "absent.jsonl") == []


def test_a_full_disk_is_a_storage_error(open_log, monkeypatch):
    log = open_log()

    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    log._file.close()
    monkeypatch.setattr(log, "_file", Full())
    with pytest.raises(StorageError, match=r"log\.jsonl: log not written: No space left"):
        log.write(record(1))


def test_progress_goes_to_standard_error_and_only_when_asked(open_log, capsys):
    log = open_log()
    log.say("quiet")
    log.advance(1, loss=0.5)
    assert capsys.readouterr() == ("", "")
    log = open_log(show_progress=True)
    log.say("step 1: worst direction 0.5")
    log.advance(1, loss=0.5)
    log.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 1: worst direction 0.5" in err
