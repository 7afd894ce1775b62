"""Configuration: frozen dataclasses, read from TOML strictly and written back the same.

Every key has a default, so that a file names only what it changes.
"""

from jointspace.config.checks import check_config
from jointspace.config.sections import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    TrainConfig,
    TrajectoryConfig,
    VisionConfig,
)
from jointspace.config.toml import read_config, write_config

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "RunConfig",
    "TextConfig",
    "TrainConfig",
    "TrajectoryConfig",
    "VisionConfig",
    "check_config",
    "read_config",
    "write_config",
]
