"""From a configuration to a model: the only place that chooses and unpacks configurations."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import nn

from jointspace.batch import ACTION, STATE, Modality
from jointspace.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    TextConfig,
    TrajectoryConfig,
    VisionConfig,
)
from jointspace.encoders.action import ActionSequenceEncoder, CommandEncoder, DiscreteActionEncoder
from jointspace.encoders.embodiments import Sizes
from jointspace.encoders.pretrained_vision import PretrainedFrameEncoder
from jointspace.encoders.sentence import SentenceEncoder
from jointspace.encoders.text import TextEncoder
from jointspace.encoders.trajectory import (
    FrequencyEncoder,
    TrajectoryConvolution,
    TrajectoryTransformer,
)
from jointspace.encoders.vision import VisionEncoder
from jointspace.errors import ConfigError, InputError, did_you_mean
from jointspace.fusion.fuse import EarlyFusion, LateFusion, ThreeWayFusion
from jointspace.models.efficient import efficient_towers
from jointspace.models.joint import JointModel, tower_width
from jointspace.models.vision_language import vision_language_towers
from jointspace.models.vision_language_action import vision_language_action_towers

_Towers = dict[Modality, nn.Module]
_Choice = TypeVar("_Choice")


def build_model(
    config: ModelConfig,
    loss: LossConfig,
    data: DataConfig,
    *,
    vocab_size: int,
    channels: Mapping[Modality, Sizes],
    num_cameras: Sizes,
) -> JointModel:
    """Builds the joint model that a configuration describes.

    Fusion is built where there are three modalities or more: with two, a fused query has nothing
    to retrieve.

    Args:
        config: which model, its towers and its fusion.
        loss: read for the temperatures, and for the biases where the loss has them.
        data: read for the sizes of pictures and texts.
        vocab_size: of the tokenizer.
        channels: modality -> channels, of actions and every sensor. One number for each embodiment
            (0 where it lacks the modality) gives each of them first layers of its own.
        num_cameras: the most cameras that a row can have; one number for each embodiment as well.

    Returns:
        A model with fresh weights, in training mode.

    Raises:
        ConfigError: a name is unknown, a sensor is not in the data, sizes do not fit together, or
            several embodiments have discrete actions.
    """
    assemble = _choose("model.name", config.name, _MODELS)
    try:
        towers = assemble(config, data, vocab_size, _steps(config, channels), num_cameras)
        return JointModel(
            towers,
            embed_dim=config.embed_dim,
            fusion=_fusion(config, {m: tower_width(tower) for m, tower in towers.items()}),
            initial_temperature=loss.initial_temperature,
            max_logit_scale=loss.max_logit_scale,
            initial_bias=loss.initial_bias if loss.name == "sigmoid" else None,
            gated=config.pair_metric == "gated",
        )
    except InputError as error:
        raise ConfigError(f"model '{config.name}': {error}") from error


def _vision_language(
    config: ModelConfig,
    data: DataConfig,
    vocab_size: int,
    channels: Mapping[Modality, Sizes],
    num_cameras: Sizes,
) -> _Towers:
    return vision_language_towers(
        vision=_vision_tower(config, data, num_cameras),
        text=_text_tower(config.text, data, vocab_size),
        sensors=_sensor_towers(config, channels),
    )


def _vision_language_action(
    config: ModelConfig,
    data: DataConfig,
    vocab_size: int,
    channels: Mapping[Modality, Sizes],
    num_cameras: Sizes,
) -> _Towers:
    return vision_language_action_towers(
        vision=_vision_tower(config, data, num_cameras),
        text=_text_tower(config.text, data, vocab_size),
        action=_steps_tower("model.action", config.action, channels[ACTION]),
        sensors=_sensor_towers(config, channels),
    )


def _efficient(
    config: ModelConfig,
    data: DataConfig,
    vocab_size: int,
    channels: Mapping[Modality, Sizes],
    num_cameras: Sizes,
) -> _Towers:
    """Half of the configured widths, and small towers alone."""
    wanted = {"model.vision.tower": "convolution", "model.text.tower": "transformer"}
    wanted |= dict.fromkeys(("model.action.tower", "model.sensor.tower"), "frequency")
    got = {
        "model.vision.tower": config.vision.tower,
        "model.text.tower": config.text.tower,
        "model.action.tower": config.action.tower,
        "model.sensor.tower": config.sensor.tower,
    }
    for key, name in wanted.items():
        if got[key] != name:
            raise ConfigError(
                f"{key} is '{got[key]}', but the efficient model has the '{name}' tower; "
                "leave the key out, or set model.name to 'vision-language-action'"
            )
    return efficient_towers(
        image_px=data.image_px,
        num_cameras=num_cameras,
        vocab_size=vocab_size,
        max_tokens=data.max_tokens,
        channels=channels,
        vision_channels=tuple(max(each // 2, 1) for each in config.vision.channels),
        width=config.vision.width // 2,
        text_width=config.text.width // 2,
        num_heads=config.text.heads,
        num_coefficients=config.action.num_coefficients,
        dropout=config.vision.dropout,
        stem_stride=config.vision.stem_stride,
        temporal_layers=config.vision.temporal_layers,
        pooling=config.vision.pooling,
        max_pooling=config.text.pooling == "attention+max",
    )


_MODELS: Mapping[str, Callable[..., _Towers]] = {
    "vision-language": _vision_language,
    "vision-language-action": _vision_language_action,
    "efficient": _efficient,
}


def _steps(config: ModelConfig, channels: Mapping[Modality, Sizes]) -> dict[Modality, Sizes]:
    """Returns the modalities of steps that the model has, with their channels, actions first."""
    wanted = [] if config.name == "vision-language" else [ACTION]
    # Nearly every robot records its state, so that it is asked for by default; not all do.
    wanted += [Modality(name) for name in config.sensors if name != STATE or name in channels]
    for modality in wanted:
        if modality not in channels:
            key = "the model's actions" if modality == ACTION else f"model.sensors: '{modality}'"
            raise ConfigError(f"{key}: not in the data.{did_you_mean(modality, channels)}")
    return {modality: channels[modality] for modality in wanted}


def build_frame_encoder(config: VisionConfig, *, image_px: int) -> PretrainedFrameEncoder:
    """Builds what reads one picture in a pretrained vision tower.

    Args:
        config: of the vision tower.
        image_px: side of the pictures.

    Returns:
        The encoder, its adapter with fresh weights.

    Raises:
        InputError: there is no such network, or it reads no such pictures.
        MissingExtraError: `transformers` is not installed.
    """
    return PretrainedFrameEncoder(
        config.pretrained,
        image_px=image_px,
        width=config.width,
        grid=config.grid,
        dropout=config.dropout,
        trainable=config.trainable,
        num_trainable_layers=config.num_trainable_layers,
    )


def _vision_tower(config: ModelConfig, data: DataConfig, num_cameras: Sizes) -> nn.Module:
    frames: Mapping[str, Callable[[], nn.Module | None]] = {
        "convolution": lambda: None,
        "pretrained": lambda: build_frame_encoder(config.vision, image_px=data.image_px),
    }
    return VisionEncoder(
        image_px=data.image_px,
        num_cameras=num_cameras,
        channels=config.vision.channels,
        width=config.vision.width,
        stem_stride=config.vision.stem_stride,
        pooling=config.vision.pooling,
        temporal_layers=config.vision.temporal_layers,
        dropout=config.vision.dropout,
        frame=_choose("model.vision.tower", config.vision.tower, frames)(),
    )


def _text_tower(config: TextConfig, data: DataConfig, vocab_size: int) -> nn.Module:
    towers: Mapping[str, Callable[[], nn.Module]] = {
        "transformer": lambda: TextEncoder(
            vocab_size,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            max_tokens=data.max_tokens,
            dropout=config.dropout,
            max_pooling=config.pooling == "attention+max",
        ),
        "sentence": lambda: _sentence_tower(config, data),
    }
    return _choose("model.text.tower", config.tower, towers)()


def _sentence_tower(config: TextConfig, data: DataConfig) -> SentenceEncoder:
    tower = SentenceEncoder(
        config.pretrained,
        width=config.width,
        heads=config.heads,
        dropout=config.dropout,
        max_pooling=config.pooling == "attention+max",
        trainable=config.trainable,
        num_trainable_layers=config.num_trainable_layers,
    )
    if data.max_tokens > tower.max_tokens:
        raise ConfigError(
            f"data.max_tokens is {data.max_tokens}, but '{config.pretrained}' reads at most "
            f"{tower.max_tokens} tokens; set it to that or less"
        )
    return tower


def _sensor_towers(config: ModelConfig, channels: Mapping[Modality, Sizes]) -> _Towers:
    return {
        modality: _steps_tower("model.sensor", config.sensor, each)
        for modality, each in channels.items()
        if modality != ACTION
    }


def _steps_tower(key: str, config: TrajectoryConfig, channels: Sizes) -> nn.Module:
    width, dropout = config.width, config.dropout
    if config.tower in {"discrete", "sequence"} and not isinstance(channels, int):
        raise ConfigError(
            f"{key}.tower is '{config.tower}', but several robots share no set of discrete "
            "actions; choose a continuous tower, or train a run for each robot"
        )
    towers: Mapping[str, Callable[[], nn.Module]] = {
        "frequency": lambda: FrequencyEncoder(
            channels, width=width, num_coefficients=config.num_coefficients, dropout=dropout
        ),
        "transformer": lambda: TrajectoryTransformer(
            channels, width=width, layers=config.layers, heads=config.heads, dropout=dropout
        ),
        "convolution": lambda: TrajectoryConvolution(
            channels, width=width, layers=config.layers, dropout=dropout
        ),
        "command": lambda: CommandEncoder(channels, width=width, dropout=dropout),
        "discrete": lambda: DiscreteActionEncoder(config.num_actions, width=width),
        "sequence": lambda: ActionSequenceEncoder(
            config.num_actions, width=width, layers=config.layers, dropout=dropout
        ),
    }
    return _choose(f"{key}.tower", config.tower, towers)()


def _fusion(config: ModelConfig, widths: Mapping[Modality, int]) -> nn.Module | None:
    dim, layers, heads = config.embed_dim, config.fusion_layers, config.fusion_heads
    dropout = config.vision.dropout
    kinds: Mapping[str, Callable[[], nn.Module | None]] = {
        "none": lambda: None,
        "early": lambda: EarlyFusion(widths, dim=dim, dropout=dropout),
        "late": lambda: LateFusion(
            widths, dim=dim, layers=layers, num_heads=heads, dropout=dropout
        ),
        "three-way": lambda: ThreeWayFusion(
            widths, dim=dim, layers=layers, num_heads=heads, dropout=dropout
        ),
    }
    build = _choose("model.fusion", config.fusion, kinds)
    return build() if len(widths) > 2 else None


def _choose(key: str, name: str, known: Mapping[str, _Choice]) -> _Choice:
    try:
        return known[name]
    except KeyError:
        raise ConfigError(f"{key} is '{name}'.{did_you_mean(name, known)}") from None
