"""The chapter's training on rows of our sample sets, and the vectors that come out of it."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from textbook_model import LEARNING_RATE, TextbookModel, text_vectors

from jointspace.batch import ACTION, CORE_MODALITIES, TEXT, VISION, Embeddings, Modality
from jointspace.config import RunConfig
from jointspace.data.collate import Sample
from jointspace.data.samples import SampleSet
from jointspace.errors import InputError
from jointspace.train.balance import GoalRows
from jointspace.train.sampling import RowKind, step_rows
from jointspace.train.setup import num_first_steps

LONGEST_TRAJECTORY = 100
_ROWS_AT_ONCE = 64

RowsAt = Callable[[int], tuple[SampleSet, Int[np.ndarray, " row"]]]
"""Step -> the rows that it trains on."""


@dataclasses.dataclass(frozen=True)
class TextbookInputs:
    """What the chapter's model takes.

    Attributes:
        pictures: of all rows, one row's after the other's.
        row: which row each picture is of.
        texts: vectors of the instructions.
        actions: raw, cut or padded with zeros.
    """

    pictures: UInt8[torch.Tensor, "picture px px 3"]
    row: Int[torch.Tensor, " picture"]
    texts: Float[torch.Tensor, "row text_dim"]
    actions: Float[torch.Tensor, "row time action_dim"]


def textbook_inputs(
    samples: SampleSet, rows: Int[np.ndarray, " row"], *, first_picture_only: bool
) -> TextbookInputs:
    """Reads rows as the chapter takes them.

    Args:
        samples: the rows.
        rows: which of them.
        first_picture_only: the first picture of the first camera, as in the chapter, or all that a
            row has.
    """
    read: list[Sample] = [samples.sample(int(row)) for row in rows]
    pictures = [_pictures(each, first_only=first_picture_only) for each in read]
    actions = [each.steps[ACTION].values[:LONGEST_TRAJECTORY] for each in read]
    padded = np.zeros((len(read), max(map(len, actions)), actions[0].shape[1]), np.float32)
    for row, values in zip(padded, actions, strict=True):
        row[: len(values)] = values
    return TextbookInputs(
        torch.from_numpy(np.concatenate(pictures)),
        torch.from_numpy(np.repeat(np.arange(len(read)), [len(each) for each in pictures])),
        text_vectors([each.text or "" for each in read]),
        torch.from_numpy(padded),
    )


def _pictures(sample: Sample, *, first_only: bool) -> UInt8[np.ndarray, "picture px px 3"]:
    """The pictures of a row: of all times and cameras, or the first of the first camera."""
    if sample.frames is None:
        raise InputError("the chapter's model needs pictures: the data set has no cameras")
    if first_only:
        return sample.frames[:1, 0]
    if sample.frames_valid is not None:
        return sample.frames[sample.frames_valid]
    return sample.frames.reshape(-1, *sample.frames.shape[2:])


def random_rows(samples: SampleSet, config: RunConfig) -> RowsAt:
    """Draws every batch at random from one sample set, as the chapter's shuffled loader does."""
    rng = np.random.default_rng(config.seed)
    size = min(config.train.batch_size, len(samples))
    return lambda _: (samples, rng.choice(len(samples), size=size, replace=False))


def our_rows(windows: SampleSet, episodes: SampleSet, config: RunConfig) -> RowsAt:
    """Takes the very rows that our training takes at each step, undisturbed."""
    goal_rows: dict[RowKind, GoalRows] | None = None
    if config.train.balance == "goal":
        goal_rows = {
            "windows": GoalRows(windows.rows.goal),
            "episodes": GoalRows(episodes.rows.goal),
        }

    def at(step: int) -> tuple[SampleSet, Int[np.ndarray, " row"]]:
        rows = step_rows(
            step,
            seed=config.seed,
            num_windows=len(windows),
            num_episodes=len(episodes),
            batch_size=config.train.batch_size,
            episode_fraction=config.train.episode_fraction,
            num_first=num_first_steps(config.train),
            goal_rows=goal_rows,
        )
        return (windows if rows.kind == "windows" else episodes), rows.indices

    return at


def train_textbook(
    rows_at: RowsAt, *, config: RunConfig, action_dim: int, first_picture_only: bool
) -> TextbookModel:
    """Trains the chapter's model as the chapter does: plain AdamW, no schedule, no clipping."""
    torch.manual_seed(config.seed)
    model = TextbookModel(action_dim=action_dim, embed_dim=config.model.embed_dim)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for step in range(config.train.num_steps):
        inputs = textbook_inputs(*rows_at(step), first_picture_only=first_picture_only)
        optimizer.zero_grad()
        model.loss(inputs.pictures, inputs.row, inputs.texts, inputs.actions).backward()
        optimizer.step()
    return model.eval()


def embed_textbook(
    model: TextbookModel, samples: SampleSet, *, first_picture_only: bool
) -> Embeddings:
    """Embeds every row of a sample set with the chapter's model."""
    parts: dict[Modality, list[np.ndarray]] = {name: [] for name in CORE_MODALITIES}
    with torch.inference_mode():
        for start in range(0, len(samples), _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(samples)))
            inputs = textbook_inputs(samples, rows, first_picture_only=first_picture_only)
            vision = model.encode_vision(inputs.pictures, inputs.row)
            parts[VISION].append(vision.numpy())
            parts[TEXT].append(model.encode_text(inputs.texts).numpy())
            parts[ACTION].append(model.encode_action(inputs.actions).numpy())
    return Embeddings(
        {name: np.concatenate(each) for name, each in parts.items()}, samples.rows, samples.texts
    )
