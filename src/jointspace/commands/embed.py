"""`jointspace embed`."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jointspace.batch import Embeddings
from jointspace.commands.arguments import Embed
from jointspace.commands.opened_run import open_run
from jointspace.data.samples import SampleSet
from jointspace.data.windows import num_short_episodes
from jointspace.evaluation.embedding import embed_samples
from jointspace.progress import progress_bar
from jointspace.storage import write_whole

PAIR_GATES_KEY = "jointspace.pair_gates"
"""Where a file of embeddings keeps the gates of its pairs."""


@dataclass(frozen=True)
class Embedded:
    """What was written.

    Attributes:
        file: the Parquet file.
        num_rows: its rows.
        embed_dim: width of the vectors.
        modalities: columns of vectors, by name.
        left_out: what of the data set has no row, and why.
    """

    file: Path
    num_rows: int
    embed_dim: int
    modalities: tuple[str, ...]
    left_out: tuple[str, ...]

    def render(self) -> str:
        """Returns a line for a reader, below what was left out."""
        written = (
            f"{self.num_rows} rows of {self.embed_dim} numbers, {', '.join(self.modalities)}: "
            f"{self.file}"
        )
        return "\n".join([*self.left_out, written])

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {
            "file": str(self.file),
            "num_rows": self.num_rows,
            "embed_dim": self.embed_dim,
            "modalities": list(self.modalities),
            "left_out": list(self.left_out),
        }


def run(arguments: Embed) -> Embedded:
    """Embeds every window of a data set and writes the rows with their ids.

    Returns:
        What was written.

    Raises:
        RunFolderError: the folder holds no run that can be used.
        DataError: the data set cannot be read.
        InputError: no episode is as long as a window, or a camera is missing.
        StorageError: the file could not be written.
    """
    opened = open_run(arguments.run, data=arguments.data)
    num_short = num_short_episodes(
        [episode.num_frames for episode in opened.dataset.episodes],
        fps=opened.dataset.info.fps,
        window_s=opened.preprocessor.window_s,
    )
    samples = SampleSet.of_windows(
        opened.dataset,
        opened.seen,
        opened.preprocessor,
        episodes=range(len(opened.dataset.episodes)),
    )
    with progress_bar("embedding") as report:
        embeddings = embed_samples(opened.embedder, samples, progress=report)
    write_embeddings(arguments.out, embeddings)
    return Embedded(
        file=arguments.out,
        num_rows=len(embeddings),
        embed_dim=opened.embedder.embed_dim,
        modalities=tuple(str(m) for m in embeddings.modalities),
        left_out=(
            *opened.left_out,
            *([f"{num_short} episodes are shorter than a window"] if num_short else []),
        ),
    )


def write_embeddings(file: Path, embeddings: Embeddings) -> None:
    """Writes embeddings as Parquet: a column per id, the instruction, a list column per modality.

    The lists are in `vector.<modality>`; a row that lacks a modality has null there. The gates of
    the pairs, if the model has any, are in the metadata of the schema, under `PAIR_GATES_KEY`: a
    JSON list of objects with `modalities` (two names) and `gate` (a number for each dimension).

    Args:
        file: replaced whole, or not at all.
        embeddings: the rows.

    Raises:
        StorageError: the file could not be written.
    """
    rows = embeddings.rows
    columns: dict[str, pa.Array] = {
        "episode": pa.array(rows.episode, pa.int64()),
        "instruction": pa.array(rows.instruction, pa.int64()),
        "goal": pa.array(rows.goal, pa.int64()),
        "start_s": pa.array(rows.start_s, pa.float64()),
        "stop_s": pa.array(rows.stop_s, pa.float64()),
        "instruction_text": pa.array(
            [embeddings.texts.get(i) for i in rows.instruction.tolist()], pa.string()
        ),
    }
    for modality, vectors in embeddings.vectors.items():
        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
        columns[f"vector.{modality}"] = pa.FixedSizeListArray.from_arrays(
            flat, vectors.shape[1], mask=pa.array(~embeddings.present(modality))
        )
    table = pa.table(columns)
    if embeddings.gates:
        table = table.replace_schema_metadata({PAIR_GATES_KEY: _gates_json(embeddings)})
    content = io.BytesIO()
    pq.write_table(table, content)
    write_whole(file, content.getvalue())


def _gates_json(embeddings: Embeddings) -> str:
    place = {modality: number for number, modality in enumerate(embeddings.modalities)}
    return json.dumps(
        [
            {"modalities": sorted(pair, key=place.__getitem__), "gate": gate.tolist()}
            for pair, gate in embeddings.gates.items()
        ]
    )
