"""The run that another one starts from (`train.start_from`)."""

from dataclasses import replace
from pathlib import Path

from jointspace.config import ModelConfig, RunConfig
from jointspace.errors import ConfigError
from jointspace.models.run_folder import CONFIG_FILE, Run, load_run
from jointspace.train.run_check import first_difference


def open_base_run(config: RunConfig) -> Run:
    """Opens the run to start from.

    Args:
        config: of the run that starts; `train.start_from` names the other one.

    Returns:
        The run, with its weights.

    Raises:
        ConfigError: its model or its preprocessing is another one.
        RunFolderError: it is no run folder.
    """
    base = load_run(Path(config.train.start_from))
    pairs = (
        ("model", _free(base.config.model, config.model), config.model),
        ("data.image_px", base.config.data.image_px, config.data.image_px),
        ("data.max_tokens", base.config.data.max_tokens, config.data.max_tokens),
        ("data.split", base.config.data.split, config.data.split),
    )
    for section, stored, wanted in pairs:
        difference = first_difference(stored, wanted, section)
        if difference:
            key, was, now = difference
            raise ConfigError(
                f"{key}: is {now!r}, but {was!r} in {base.folder}, which the training "
                f"starts from (train.start_from); use its {base.folder / CONFIG_FILE}"
            )
    return base


def _free(base: ModelConfig, wanted: ModelConfig) -> ModelConfig:
    """Returns the model to start from with what may be wanted otherwise of its weights."""
    vision, text = base.vision, base.text
    if vision.trainable == "frozen":
        layers = wanted.vision.num_trainable_layers
        vision = replace(vision, trainable=wanted.vision.trainable, num_trainable_layers=layers)
    if text.trainable == "frozen":
        layers = wanted.text.num_trainable_layers
        text = replace(text, trainable=wanted.text.trainable, num_trainable_layers=layers)
    vision = replace(vision, cache_features=wanted.vision.cache_features)
    # Gates of 1 compare as the cosine.
    metric = wanted.pair_metric if base.pair_metric == "cosine" else base.pair_metric
    return replace(base, pair_metric=metric, vision=vision, text=text)
