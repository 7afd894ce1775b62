"""MuJoCo, imported where it is first needed: the core of jointspace does without."""

from types import ModuleType

from jointspace.errors import InputError, MissingExtraError


def load_mujoco() -> ModuleType:
    """Imports MuJoCo.

    Returns:
        The module `mujoco`.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        InputError: the environment variable MUJOCO_GL names a renderer that cannot be used here.
    """
    try:
        import mujoco  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        raise MissingExtraError("mujoco-core", "sim") from error
    except (ImportError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"MuJoCo does not start with the environment variable MUJOCO_GL as it is: {error}; "
            "unset it (the ray renderer needs no OpenGL), or install the library that it names "
            "(Debian and Ubuntu: apt-get install libegl1 libgl1)"
        ) from error
    return mujoco
