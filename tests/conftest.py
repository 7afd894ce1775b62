"""Fixtures shared by all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.robot.dds.domains import free_domain

SAMPLES_VARIABLE = "JOINTSPACE_SAMPLES"

# Read when torch is first imported, also by processes that tests start. Tiny tensors gain nothing
# from threads, which on a busy machine wait for each other: five times the time, measured.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def frame_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoded frames go to a folder of this test session, never to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("frame-cache")
        patch.setenv("JOINTSPACE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """The folder of real sample data sets; tests that need it skip where it is not there."""
    beside_the_repository = Path(__file__).parents[2] / "shared" / "samples"
    folder = Path(os.environ.get(SAMPLES_VARIABLE) or beside_the_repository)
    if not folder.is_dir():
        pytest.skip(f"no sample data sets at {folder}; set {SAMPLES_VARIABLE} to their folder")
    return folder


@pytest.fixture
def domain_id() -> int:
    """A DDS domain that nobody on this machine uses."""
    return free_domain()
