"""The package of ros/, imported over stand-ins for rclpy."""

import sys
from pathlib import Path

import pytest

from tests.ros import stand_in_rclpy

PACKAGE = Path(__file__).parents[2] / "ros" / "jointspace_ros"


@pytest.fixture(scope="session")
def package():
    """Folder of the ament package."""
    return PACKAGE


@pytest.fixture
def ros(monkeypatch):
    """The network of the stand-ins, with the package importable over them."""
    for name, module in stand_in_rclpy.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name.split(".")[0] == "jointspace_ros"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(PACKAGE))
    stand_in_rclpy.NETWORK.clear()
    monkeypatch.setattr(stand_in_rclpy.Node, "overrides", {})
    yield stand_in_rclpy.NETWORK
    for name in [name for name in sys.modules if name.split(".")[0] == "jointspace_ros"]:
        del sys.modules[name]
