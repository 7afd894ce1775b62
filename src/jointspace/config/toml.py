"""Configurations in TOML: read strictly, with overrides, and written back the same.

Unknown keys and wrong types are refused with the file, the key and the closest known name.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from jointspace.config.checks import check_config
from jointspace.config.sections import RunConfig
from jointspace.errors import ConfigError, did_you_mean

Config = TypeVar("Config")


def read_config(path: Path, *, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration from TOML, strictly.

    Args:
        path: the file; keys that it does not name keep their defaults.
        overrides: `key=value` with a dotted key, applied in order: `train.num_steps=200`. The value
            is TOML; what is not, such as a bare word, is taken as text.

    Returns:
        The configuration, its values checked by `check_config`.

    Raises:
        ConfigError: the file cannot be read or is no TOML; a key is unknown; a value has the wrong
            type or lies outside its range; an override is not of the form `key=value`.
    """
    table = read_table(path)
    config = structure(table, RunConfig, source=str(path))
    for override in overrides:
        _override(table, override)
        config = structure(table, RunConfig, source=f"override '{override}'")
    return check_config(config, source=", then ".join([str(path), *overrides]))


def read_table(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        ConfigError: the file cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no valid TOML: {error}") from error


def write_config(config: RunConfig) -> str:
    """Returns the configuration as TOML with every key; `read_config` gives back its equal."""
    # Here and below: `import jointspace.config` stays cheap for those who only name the
    # dataclasses.
    import tomli_w  # noqa: PLC0415

    return tomli_w.dumps(dataclasses.asdict(config))


def _override(table: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not separator or not all(names):
        raise ConfigError(f"override '{override}': expected key=value, as in train.num_steps=200")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"override '{override}': '{name}' is a value, and holds no keys")
    table[names[-1]] = value


def structure(table: Mapping[str, Any], kind: type[Config], *, source: str) -> Config:
    """Makes a dataclass of the keys and values of a table, strictly.

    Args:
        table: as TOML has it.
        kind: a dataclass of numbers, texts, flags, tuples and further dataclasses.
        source: what an error names as the place of the mistake.

    Returns:
        The dataclass; keys that the table does not name keep their defaults.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type.
    """
    from cattrs import BaseValidationError, Converter  # noqa: PLC0415
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415

    converter = Converter(detailed_validation=True, forbid_extra_keys=True)

    def structure_table(section: type) -> Any:
        generated: Any = make_dict_structure_fn(section, converter, _cattrs_forbid_extra_keys=True)
        return lambda value, target: generated(_expect(value, dict, "a table"), target)

    def structure_tuple(value: Any, target: Any) -> Any:
        element = typing.get_args(target)[0]
        return tuple(converter.structure(v, element) for v in _expect(value, list, "a list"))

    converter.register_structure_hook_factory(dataclasses.is_dataclass, structure_table)
    for origin, hook in ((tuple, structure_tuple), (Literal, _structure_choice)):
        converter.register_structure_hook_func(partial(_is_generic, origin=origin), hook)
    converter.register_structure_hook(bool, lambda value, _: _expect_bool(value))
    converter.register_structure_hook(int, lambda value, _: _expect(value, int, "an integer"))
    converter.register_structure_hook(str, lambda value, _: _expect(value, str, "text"))
    converter.register_structure_hook(
        float, lambda value, _: float(_expect(value, int | float, "a number"))
    )
    try:
        return converter.structure(table, kind)
    except BaseValidationError as error:
        key, cause = _first_cause(error)
        raise ConfigError(f"{source}: {key}: {cause}") from error


def _expect_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"got {value!r}, expected true or false")
    return value


def _is_generic(kind: Any, *, origin: Any) -> bool:
    return typing.get_origin(kind) is origin


def _expect(value: Any, kind: type | types.UnionType, wanted: str) -> Any:
    # Python counts True as an integer; TOML does not.
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"got {value!r}, expected {wanted}")
    return value


def _structure_choice(value: Any, kind: Any) -> Any:
    choices = typing.get_args(kind)
    if value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        expected = ", ".join(f"'{choice}'" for choice in choices)
        raise ValueError(f"got {value!r}, expected one of {expected}.{hint}")
    return value


def _first_cause(error: BaseException, path: tuple[str, ...] = ()) -> tuple[str, str]:
    """Follows cattrs' nested errors down to the first one, collecting the key on the way."""
    from cattrs import (  # noqa: PLC0415
        AttributeValidationNote,
        BaseValidationError,
        ForbiddenExtraKeysError,
    )

    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path = (*path, note.name)
    if isinstance(error, BaseValidationError):
        return _first_cause(error.exceptions[0], path)
    if isinstance(error, ForbiddenExtraKeysError):
        unknown = min(error.extra_fields)
        known = [field.name for field in dataclasses.fields(error.cl)]
        return ".".join((*path, unknown)), f"unknown key.{did_you_mean(unknown, known)}"
    return ".".join(path), str(error)
