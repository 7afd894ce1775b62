"""Pictures by OpenGL: an option where a library and a context are at hand."""

import ctypes.util
import os
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jointspace.errors import InputError
from jointspace.sim.engine import load_mujoco


class GlRenderer:
    """Draws with MuJoCo's OpenGL renderer.

    Args:
        model: the scene.
        image_px: side of the square pictures.

    Raises:
        InputError: no OpenGL library is installed, or no context can be made.
    """

    def __init__(self, model: Any, *, image_px: int) -> None:
        cure = (
            "install one (Debian and Ubuntu: apt-get install libegl1 libgl1) and set MUJOCO_GL=egl "
            "before Python starts, or use renderer='ray', which needs none"
        )
        if not any(ctypes.util.find_library(name) for name in ("EGL", "OSMesa", "GL", "OpenGL")):
            raise InputError(f"renderer 'gl': no OpenGL library is installed; {cure}")
        if not os.environ.get("MUJOCO_GL") and not os.environ.get("DISPLAY"):
            raise InputError(f"renderer 'gl': no display, and MUJOCO_GL is not set; {cure}")
        mujoco = load_mujoco()
        try:
            self._renderer = mujoco.Renderer(model, height=image_px, width=image_px)
        except (RuntimeError, AttributeError, ImportError, mujoco.FatalError) as error:
            raise InputError(f"renderer 'gl': OpenGL does not start ({error}); {cure}") from error

    def picture(self, data: Any, camera: str) -> UInt8[np.ndarray, "height width 3"]:
        """Returns a camera's picture of the scene as it is.

        Args:
            data: the scene's state, after `mj_forward`.
            camera: its name.
        """
        self._renderer.update_scene(data, camera=camera)
        return self._renderer.render().copy()
