"""Action decoders, and the choice of one by configuration."""

from collections.abc import Sequence

from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.decoders.none import NoneDecoder
from jointspace.robot.core.decoders.velocity import VelocityDecoder
from jointspace.robot.core.perception import RobotEmbedder
from jointspace.robot.policy.decoder import open_retrieval_decoder


def build_decoder(
    config: RobotConfig, embedder: RobotEmbedder, *, cameras: Sequence[str]
) -> ActionDecoder:
    """Makes the decoder that the configuration names.

    Args:
        config: `decoder`, and what that decoder reads.
        embedder: of the bundle.
        cameras: whose pictures percepts have.

    Returns:
        The decoder.

    Raises:
        ConfigError: the policy does not fit the rest of the configuration, or the bundle.
        RunFolderError: the policy cannot be read.
    """
    if config.decoder == "retrieval":
        return open_retrieval_decoder(
            config, cameras=cameras, model_id=embedder.model_id, embed_texts=embedder.embed_texts
        )
    if config.decoder == "velocity":
        return VelocityDecoder(
            config.velocities,
            embed_texts=embedder.embed_texts,
            min_similarity=config.velocity_min_similarity,
        )
    return NoneDecoder()
