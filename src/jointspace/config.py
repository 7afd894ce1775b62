"""Configuration: frozen dataclasses, read from TOML strictly and written back the same.

Every key has a default, so that a file names only what it changes. Unknown keys and wrong types are
refused with the file, the key and the closest known name.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jointspace.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a row of training data is.

    Attributes:
        image_px: side of the square picture that the vision tower sees.
        cameras: cameras to use; empty means all.
        window_s: length of a window.
        stride_s: distance between the starts of training windows; evaluation windows do not
            overlap.
        window_frames: pictures per window; 1 is the picture at its start, more are spread evenly
            over it.
        episode_frames: pictures per whole-episode row, spread evenly over the episode.
        max_tokens: instructions are cut to this many tokens.
        split: hold out whole episodes, or whole instructions.
        validation_fraction: share of the episodes (or instructions) that early stopping looks at.
        test_fraction: share held out for `evaluate`.
        split_seed: which episodes are held out.
    """

    image_px: int = 64
    cameras: tuple[str, ...] = ()
    window_s: float = 1.0
    stride_s: float = 0.2
    window_frames: int = 1
    episode_frames: int = 8
    max_tokens: int = 64
    split: Literal["episode", "instruction"] = "episode"
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The vision tower: a convolutional network that keeps the grid; see `encoders/vision.py`."""

    channels: tuple[int, ...] = (16, 32, 64)
    width: int = 256
    temporal_layers: int = 1
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text tower: trained from scratch, or a frozen sentence encoder.

    `pretrained` is the folder or hub id of the frozen encoder; it is read when `tower` is
    "sentence".
    """

    tower: Literal["transformer", "sentence"] = "transformer"
    width: int = 128
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    word_dropout: float = 0.15
    pretrained: str = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True, kw_only=True)
class TrajectoryConfig:
    """The tower of one kind of continuous steps (actions, state or another sensor).

    Attributes:
        tower: `frequency` (DCT of the time-resampled steps), `transformer` (time codes in seconds)
            or `convolution` (dilated, for streams); `command` for a single continuous command;
            `discrete` and `sequence` for integer actions.
        num_coefficients: coefficients kept by `frequency`.
        num_actions: size of the discrete action set, read by `discrete` and `sequence`.
    """

    tower: Literal["frequency", "transformer", "convolution", "command", "discrete", "sequence"] = (
        "frequency"
    )
    width: int = 256
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    num_coefficients: int = 10
    num_actions: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which joint model, and its towers.

    Attributes:
        name: `vision-language` (CLIP-like), `vision-language-action`, or `efficient` (real time).
        embed_dim: width of the joint space.
        sensors: further modalities beside vision, text and action: `state` (left out where the
            data set records none), or a feature's name.
        fusion: how fused queries (such as vision+text -> action) are made; `none` builds no fusion.
    """

    name: Literal["vision-language", "vision-language-action", "efficient"] = (
        "vision-language-action"
    )
    embed_dim: int = 128
    sensors: tuple[str, ...] = ("state",)
    fusion: Literal["none", "early", "late", "three-way"] = "late"
    fusion_layers: int = 1
    fusion_heads: int = 4
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    action: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    sensor: TrajectoryConfig = field(default_factory=TrajectoryConfig)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What training minimises.

    Attributes:
        positives: `ids` (rows of one instruction are positives of each other where text is
            involved) or `diagonal` (each row only itself, as in the textbook).
        normalisation: `out` averages the log-likelihood over positives, `in` takes the likelihood
            of their sum.
        mining: triplet negatives.
        fused_weight: weight of the fused queries' term; 0 leaves fusion untrained.
        fused_queries_per_step: how many of the fused queries, drawn at random, a step trains;
            0 trains all.
        modality_dropout: probability that a fused query loses each of its modalities (never the
            last).
        initial_temperature: of every pair, learned from there.
        max_logit_scale: clamp of the learned inverse temperature.
    """

    name: Literal["contrastive", "triplet"] = "contrastive"
    positives: Literal["ids", "diagonal"] = "ids"
    normalisation: Literal["out", "in"] = "out"
    mining: Literal["semi-hard", "hard", "all"] = "semi-hard"
    margin: float = 0.2
    fused_weight: float = 0.5
    fused_queries_per_step: int = 2
    modality_dropout: float = 0.2
    initial_temperature: float = 0.07
    max_logit_scale: float = 100.0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes to training rows; never flips, since left and right are in the language.

    Attributes:
        frame_jitter: how far each picture of a clip may move, as a share of the distance to its
            neighbour (half to each side); the single picture of a window stays at its start.
    """

    shift_px: int = 4
    brightness: float = 0.2
    contrast: float = 0.2
    start_jitter_s: float = 0.1
    frame_jitter: float = 0.5
    step_noise: float = 0.02


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How training runs.

    Attributes:
        episode_fraction: share of the steps whose rows are whole episodes; the others are windows.
        evaluate_every: steps between evaluations on the validation split; each is followed by a
            checkpoint.
        patience: evaluations without a better worst direction before training stops early; 0 never
            stops.
        precision: `bf16` runs the towers under autocast; `auto` chooses it where the processor has
            it.
        num_threads: torch's intra-op threads; 0 leaves torch's default.
    """

    num_steps: int = 600
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    warmup_steps: int = 50
    clip_norm: float = 1.0
    episode_fraction: float = 0.25
    evaluate_every: int = 100
    patience: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    num_threads: int = 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that `jointspace train` reads; stored whole as `config.toml` in the run folder."""

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


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
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no valid TOML: {error}") from error
    config = _structure(table, source=str(path))
    for override in overrides:
        _override(table, override)
        config = _structure(table, source=f"override '{override}'")
    return check_config(config, source=", then ".join([str(path), *overrides]))


def write_config(config: RunConfig) -> str:
    """Returns the configuration as TOML with every key; `read_config` gives back its equal."""
    # Here and below: `import jointspace.config` stays cheap for those who only name the
    # dataclasses.
    import tomli_w  # noqa: PLC0415

    return tomli_w.dumps(dataclasses.asdict(config))


def check_config(config: RunConfig, *, source: str = "configuration") -> RunConfig:
    """Returns the configuration unchanged if its values can work, alone and together.

    Args:
        config: the configuration.
        source: what an error names as the place of the mistake.

    Returns:
        The same object, so that the call can wrap a constructor.

    Raises:
        ConfigError: a value lies outside its range, or two values exclude each other.
    """
    for key, interval in _INTERVALS.items():
        for value in _values(config, key):
            if not _inside(float(value), interval):
                raise ConfigError(f"{source}: {key}: got {value}, expected a value in {interval}")
    for conflict in _conflicts(config):
        raise ConfigError(f"{source}: {conflict}")
    return config


# A round bracket excludes the bound. A value that is a tuple is checked element by element.
_INTERVALS: Mapping[str, str] = {
    "seed": "[0, 4294967295]",
    "data.image_px": "[16, 1024]",
    "data.window_s": "(0, inf)",
    "data.stride_s": "(0, inf)",
    "data.window_frames": "[1, 1024]",
    "data.episode_frames": "[1, 1024]",
    "data.max_tokens": "[2, 4096]",
    "data.validation_fraction": "[0, 1)",
    "data.test_fraction": "[0, 1)",
    "data.split_seed": "[0, 4294967295]",
    "model.embed_dim": "[2, 65536]",
    "model.fusion_layers": "[1, 64]",
    "model.fusion_heads": "[1, 1024]",
    "model.vision.channels": "[1, 8192]",
    "model.vision.width": "[1, 65536]",
    "model.vision.temporal_layers": "[0, 64]",
    "model.vision.dropout": "[0, 1)",
    "model.text.width": "[1, 65536]",
    "model.text.layers": "[1, 64]",
    "model.text.heads": "[1, 1024]",
    "model.text.dropout": "[0, 1)",
    "model.text.word_dropout": "[0, 1)",
    "model.action.width": "[1, 65536]",
    "model.action.layers": "[1, 64]",
    "model.action.heads": "[1, 1024]",
    "model.action.dropout": "[0, 1)",
    "model.action.num_coefficients": "[1, 32]",
    "model.action.num_actions": "[0, inf)",
    "model.sensor.width": "[1, 65536]",
    "model.sensor.layers": "[1, 64]",
    "model.sensor.heads": "[1, 1024]",
    "model.sensor.dropout": "[0, 1)",
    "model.sensor.num_coefficients": "[1, 32]",
    "model.sensor.num_actions": "[0, inf)",
    "loss.margin": "[0, 4]",
    "loss.fused_weight": "[0, inf)",
    "loss.fused_queries_per_step": "[0, inf)",
    "loss.modality_dropout": "[0, 1)",
    "loss.initial_temperature": "[0.001, 10]",
    "loss.max_logit_scale": "[1, 10000]",
    "augment.shift_px": "[0, 256]",
    "augment.brightness": "[0, 1]",
    "augment.contrast": "[0, 1]",
    "augment.start_jitter_s": "[0, inf)",
    "augment.frame_jitter": "[0, 1]",
    "augment.step_noise": "[0, inf)",
    "train.num_steps": "[1, inf)",
    "train.batch_size": "[2, inf)",
    "train.learning_rate": "(0, 10]",
    "train.weight_decay": "[0, 10]",
    "train.beta1": "[0, 1)",
    "train.beta2": "[0, 1)",
    "train.warmup_steps": "[0, inf)",
    "train.clip_norm": "(0, inf)",
    "train.episode_fraction": "[0, 1]",
    "train.evaluate_every": "[1, inf)",
    "train.patience": "[0, inf)",
    "train.num_threads": "[0, 1024]",
}


def _values(config: RunConfig, key: str) -> tuple[Any, ...]:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value if isinstance(value, tuple) else (value,)


def _inside(value: float, interval: str) -> bool:
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below


def _conflicts(config: RunConfig) -> Iterator[str]:
    data, model = config.data, config.model
    held_out = data.validation_fraction + data.test_fraction
    if held_out >= 1:
        yield (
            f"data.validation_fraction + data.test_fraction: got {held_out:g}, which leaves "
            "no episode to train on; expected less than 1"
        )
    if not model.vision.channels:
        yield "model.vision.channels: got [], expected at least one layer"
    sensors = model.sensors
    if len(set(sensors)) < len(sensors) or not {"vision", "text", "action"}.isdisjoint(sensors):
        yield (
            f"model.sensors: got {list(sensors)}, expected distinct names other than "
            "vision, text and action"
        )
    widths = [("model.embed_dim", model.embed_dim, "model.fusion_heads", model.fusion_heads)]
    for name, tower in (("text", model.text), ("action", model.action), ("sensor", model.sensor)):
        widths.append((f"model.{name}.width", tower.width, f"model.{name}.heads", tower.heads))
    for key, width, heads_key, heads in widths:
        if width % heads:
            yield f"{key}: got {width}, expected a multiple of {heads_key} = {heads}"
    for name, steps in (("action", model.action), ("sensor", model.sensor)):
        if steps.tower in {"discrete", "sequence"} and steps.num_actions < 1:
            yield (
                f"model.{name}.num_actions: got {steps.num_actions}, expected the size of the "
                f"action set, since model.{name}.tower is '{steps.tower}'"
            )


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


def _structure(table: dict[str, Any], *, source: str) -> RunConfig:
    from cattrs import BaseValidationError, Converter  # noqa: PLC0415
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415

    converter = Converter(detailed_validation=True, forbid_extra_keys=True)

    def structure_table(kind: type) -> Any:
        generated: Any = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
        return lambda value, target: generated(_expect(value, dict, "a table"), target)

    def structure_tuple(value: Any, target: Any) -> Any:
        element = typing.get_args(target)[0]
        return tuple(converter.structure(v, element) for v in _expect(value, list, "a list"))

    converter.register_structure_hook_factory(dataclasses.is_dataclass, structure_table)
    for origin, hook in ((tuple, structure_tuple), (Literal, _structure_choice)):
        converter.register_structure_hook_func(partial(_is_generic, origin=origin), hook)
    converter.register_structure_hook(int, lambda value, _: _expect(value, int, "an integer"))
    converter.register_structure_hook(str, lambda value, _: _expect(value, str, "text"))
    converter.register_structure_hook(
        float, lambda value, _: float(_expect(value, int | float, "a number"))
    )
    try:
        return converter.structure(table, RunConfig)
    except BaseValidationError as error:
        key, cause = _first_cause(error)
        raise ConfigError(f"{source}: {key}: {cause}") from error


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
