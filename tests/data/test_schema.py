from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jointspace.data.schema import DatasetInfo, Episode, Finding, RobotDataset


def _episode(index: int, instruction: str) -> Episode:
    action = np.zeros((3, 2), dtype=np.float32)
    return Episode(index, instruction, action, None, {}, np.arange(3) / 10, {})


def test_instructions_are_distinct_sorted_and_without_the_empty_text():
    info = DatasetInfo(Path(), "test", "", 10.0, (), ("x", "y"), (), {})
    texts = ("push", "", "lift", "push")
    dataset = RobotDataset(info, tuple(_episode(i, text) for i, text in enumerate(texts)))
    assert dataset.instructions == ("lift", "push")


def test_an_episode_counts_its_steps():
    assert _episode(0, "push").num_frames == 3


def test_an_episode_refuses_arrays_of_different_lengths():
    # Checked by the array types, in tests only: readers build episodes from whole tables.
    with pytest.raises(TypeError):
        replace(_episode(0, "push"), state=np.zeros((4, 2), dtype=np.float32))


def test_a_finding_reads_as_one_line():
    assert str(Finding("skipped", "episode 3", "two steps")) == "skipped: episode 3: two steps"
