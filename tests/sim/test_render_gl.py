from types import SimpleNamespace

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim import render_gl
from jointspace.sim.render_gl import GlRenderer


class FatalError(Exception):
    pass


class Renderer:
    """MuJoCo's, as far as it is used: one buffer that each picture overwrites."""

    def __init__(self, model, *, height, width):
        if model == "no context":
            raise FatalError("gladLoadGL error")
        self.buffer = np.zeros((height, width, 3), np.uint8)

    def update_scene(self, data, *, camera):
        self.buffer[:] = data[camera]

    def render(self):
        return self.buffer


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(render_gl.ctypes.util, "find_library", lambda name: f"lib{name}.so")
    mujoco = SimpleNamespace(Renderer=Renderer, FatalError=FatalError)
    monkeypatch.setattr(render_gl, "load_mujoco", lambda: mujoco)


def test_a_picture_is_of_the_camera_that_is_asked_and_outlives_the_next_one(stand_in):
    renderer = GlRenderer("scene", image_px=4)
    first = renderer.picture({"front": 7, "wrist": 9}, "front")
    second = renderer.picture({"front": 7, "wrist": 9}, "wrist")
    assert first.shape == (4, 4, 3)
    assert (first.min(), first.max(), second.min()) == (7, 7, 9)


def test_a_context_that_cannot_be_made_is_told_with_what_needs_none(stand_in):
    with pytest.raises(InputError, match=r"OpenGL does not start \(gladLoadGL.*renderer='ray'"):
        GlRenderer("no context", image_px=4)
