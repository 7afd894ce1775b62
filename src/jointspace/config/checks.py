"""Which values of a configuration can work, alone and together."""

from collections.abc import Iterator, Mapping
from typing import Any

from jointspace.config.sections import RunConfig
from jointspace.errors import ConfigError


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
    "data.mixture_weights": "(0, inf)",
    "model.embed_dim": "[2, 65536]",
    "model.fusion_layers": "[1, 64]",
    "model.fusion_heads": "[1, 1024]",
    "model.vision.channels": "[1, 8192]",
    "model.vision.width": "[1, 65536]",
    "model.vision.temporal_layers": "[0, 64]",
    "model.vision.dropout": "[0, 1)",
    "model.vision.num_trainable_layers": "[1, 1024]",
    "model.vision.grid": "[0, 64]",
    "model.text.width": "[1, 65536]",
    "model.text.layers": "[1, 64]",
    "model.text.heads": "[1, 1024]",
    "model.text.dropout": "[0, 1)",
    "model.text.word_dropout": "[0, 1)",
    "model.text.num_trainable_layers": "[1, 1024]",
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
    "loss.tile_rows": "[0, inf)",
    "loss.initial_bias": "[-100, 100]",
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
    "augment.frame_fraction": "(0, 1]",
    "augment.step_noise": "[0, inf)",
    "augment.erase": "[0, 1)",
    "augment.camera_dropout": "[0, 1)",
    "augment.paraphrase": "[0, 1]",
    "train.num_steps": "[1, inf)",
    "train.batch_size": "[2, inf)",
    "train.chunk_rows": "[0, inf)",
    "train.learning_rate": "(0, 10]",
    "train.weight_decay": "[0, 10]",
    "train.beta1": "[0, 1)",
    "train.beta2": "[0, 1)",
    "train.warmup_steps": "[0, inf)",
    "train.clip_norm": "(0, inf)",
    "train.pretrained_factor": "[0, 1]",
    "train.gate_factor": "[0, 1000]",
    "train.episode_fraction": "[0, 1]",
    "train.vision_text_fraction": "[0, 1]",
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
    if config.train.trainable == "adapters" and not config.train.start_from:
        yield (
            "train.trainable: got 'adapters', expected train.start_from to name the run whose "
            "other weights are kept"
        )
    loss = config.loss
    if loss.soft_margin and loss.mining == "all":
        yield (
            "loss.soft_margin: got true, expected false where loss.mining is 'all'; the soft "
            "margin is for 'hard' and 'semi-hard'"
        )
    if loss.positives == "diagonal" and loss.ignore in {"instruction", "goal"}:
        yield (
            f"loss.ignore: got '{loss.ignore}', expected 'none' or 'overlap' where loss.positives "
            "is 'diagonal', which looks at no ids and ignores nothing"
        )
    if not model.vision.channels:
        yield "model.vision.channels: got [], expected at least one layer"
    yield from _cache_conflicts(config)
    yield from _window_conflicts(config)
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


def _window_conflicts(config: RunConfig) -> Iterator[str]:
    model, train = config.model, config.train
    pictures_alone = model.name == "vision-language" and not model.sensors
    if pictures_alone and not train.text_on_windows and train.episode_fraction < 1:
        yield (
            "train.text_on_windows: got false, expected true (or train.episode_fraction of 1), "
            "since a model of vision and text alone has nothing to compare pictures of windows with"
        )


def _cache_conflicts(config: RunConfig) -> Iterator[str]:
    vision, augment = config.model.vision, config.augment
    if vision.cache_features == "off":
        return
    got = f"model.vision.cache_features: got '{vision.cache_features}'"
    if vision.tower != "pretrained" or vision.trainable != "frozen":
        yield (
            f"{got}, but model.vision.tower is '{vision.tower}' and trainable "
            f"'{vision.trainable}'; expected 'off', since only a pretrained, frozen network makes "
            "the same of a picture each time"
        )
    changes = ("shift_px", "brightness", "contrast", "erase")
    pixels = {name: getattr(augment, name) for name in changes}
    changed = [f"augment.{name} = {value:g}" for name, value in pixels.items() if value]
    if changed:
        yield (
            f"{got}, but {' and '.join(changed)} would change pictures that are not read again; "
            "expected augment.shift_px, brightness, contrast and erase of 0, or 'off'"
        )
