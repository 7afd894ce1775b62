"""Action decoders, and the choice of one by configuration."""

from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.decoders.none import NoneDecoder
from jointspace.robot.core.decoders.velocity import VelocityDecoder
from jointspace.robot.core.perception import RobotEmbedder


def build_decoder(config: RobotConfig, embedder: RobotEmbedder) -> ActionDecoder:
    """Makes the decoder that the configuration names.

    Args:
        config: `decoder`, and what that decoder reads.
        embedder: of the bundle.

    Returns:
        The decoder.
    """
    if config.decoder == "velocity":
        return VelocityDecoder(
            config.velocities,
            embed_texts=embedder.embed_texts,
            min_similarity=config.velocity_min_similarity,
        )
    return NoneDecoder()
