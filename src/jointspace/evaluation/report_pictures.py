"""The pictures of one scale of rows, with what there is to see in them."""

from jointspace.batch import CORE_MODALITIES, Direction
from jointspace.evaluation.directions import Evaluation
from jointspace.evaluation.document import Block, Heading, Picture
from jointspace.evaluation.plots import recall_chart
from jointspace.evaluation.space_plots import similarity_matrices, space_map
from jointspace.evaluation.split_report import SplitReport

_MAX_MATRICES = 3
_MANY_TEXTS = 8
"""From so many instructions on, labels of goals order and colour the pictures."""


def recall_picture(key: str, evaluation: Evaluation) -> Picture:
    """Draws how often each direction finds a right answer.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return Picture(
        f"recall-{key}.png",
        recall_chart(evaluation),
        "How often a right answer is among the first 1, 5 and 10. The further a dot lies from its "
        "black tick, the more the space knows; a line that touches the tick may be luck.",
    )


def space_pictures(key: str, split: SplitReport, scale: str) -> list[Block]:
    """Draws the similarity matrices and the map of the space.

    Where there are many instructions and goals have labels, as their skill, these order and colour
    the rows.

    Args:
        key: part of the names of the files.
        split: what was measured, with embeddings of the scale.
        scale: which rows.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    evaluation, embeddings = split.results[scale], split.embeddings[scale]
    labels = split.labels if evaluation.num_texts > _MANY_TEXTS else {}
    kind = split.grouping if labels else "instruction"
    blocks: list[Block] = []
    pairs = _matrix_pairs(evaluation)
    if pairs:
        order = f"{kind}, goal" if labels else kind
        blocks.append(
            Picture(
                f"similarity-{key}.png",
                similarity_matrices(embeddings, pairs, labels=labels),
                f"Similarity of every row with every row, ordered by {order} and then by episode. "
                "A bright diagonal: rows find themselves. Bright blocks between the white lines: "
                f"rows of one {kind} are alike.",
            )
        )
    if any(evaluation.present.values()):
        blocks.append(
            Picture(
                f"map-{key}.png",
                space_map(embeddings, labels=labels, what=kind),
                "The space flattened to the two directions in which it varies most. What lies "
                "apart here lies apart in the space; what overlaps here may still lie apart in it.",
            )
        )
    if blocks:
        blocks.insert(0, Heading("What the space looks like", 3))
    return blocks


def _matrix_pairs(evaluation: Evaluation) -> list[Direction]:
    """The pairs worth a picture: the core modalities first, each pair once."""
    pairs: list[Direction] = []
    rank = {modality: place for place, modality in enumerate(CORE_MODALITIES)}
    measured = [d for d in evaluation.retrieval if "+" not in d.query]
    for direction in sorted(measured, key=lambda d: rank.get(d.query, 9) + rank.get(d.target, 9)):
        if Direction(direction.target, direction.query) not in pairs:
            pairs.append(direction)
    return pairs[:_MAX_MATRICES]
