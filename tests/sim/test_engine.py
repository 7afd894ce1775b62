import sys

import pytest

from jointspace.errors import InputError, MissingExtraError
from jointspace.sim.engine import load_mujoco


def test_a_missing_mujoco_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(MissingExtraError, match=r"mujoco-core.*pip install 'jointspace\[sim\]'"):
        load_mujoco()


@pytest.mark.parametrize("error", [ImportError, RuntimeError, AttributeError])
def test_a_renderer_that_is_not_there_is_blamed_on_the_variable_that_asks_for_it(
    monkeypatch, error
):
    class WithoutEgl:
        def find_spec(self, name, path=None, target=None):
            if name == "mujoco":
                raise error("EGL has no eglQueryString")

    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    monkeypatch.setattr(sys, "meta_path", [WithoutEgl(), *sys.meta_path])
    with pytest.raises(InputError, match=r"MUJOCO_GL as it is: EGL has no .*; unset it"):
        load_mujoco()
