"""`jointspace embed`: the file that it writes."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from jointspace.batch import TEXT, VISION, Embeddings, RowIds
from jointspace.commands import embed


@pytest.fixture
def embeddings():
    rows = RowIds(
        episode=np.array([7, 7, 9]),
        instruction=np.array([0, 0, -1]),
        goal=np.array([0, 0, -1]),
        start_s=np.array([0.0, 1.0, 0.0]),
        stop_s=np.array([1.0, 2.0, 1.0]),
    )
    vision = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    text = np.array([[0, 1], [0, 1], [0, 0]], np.float32)
    return Embeddings({VISION: vision, TEXT: text}, rows, {0: "open the drawer"})


def test_the_file_holds_ids_instruction_and_a_vector_per_modality(embeddings, tmp_path):
    file = tmp_path / "new" / "rows.parquet"
    embed.write_embeddings(file, embeddings)
    table = pq.read_table(file)
    assert table.to_pydict() == {
        "episode": [7, 7, 9],
        "instruction": [0, 0, -1],
        "goal": [0, 0, -1],
        "start_s": [0.0, 1.0, 0.0],
        "stop_s": [1.0, 2.0, 1.0],
        "instruction_text": ["open the drawer", "open the drawer", None],
        "vector.vision": [[1.0, 0.0], [0.0, 1.0], pytest.approx([0.6, 0.8])],
        "vector.text": [[0.0, 1.0], [0.0, 1.0], None],
    }
    assert [path.name for path in file.parent.iterdir()] == ["rows.parquet"]


def test_the_file_of_an_earlier_run_is_replaced(embeddings, tmp_path):
    file = tmp_path / "rows.parquet"
    file.write_bytes(b"before")
    embed.write_embeddings(file, embeddings)
    assert pq.read_table(file).num_rows == 3


def test_gates_are_in_the_metadata_of_the_schema(embeddings, tmp_path):
    file = tmp_path / "rows.parquet"
    embed.write_embeddings(file, embeddings)
    assert pq.read_schema(file).metadata is None
    gate = np.array([0.5, 2.0], np.float32)
    pair = frozenset((TEXT, VISION))
    embed.write_embeddings(
        file, Embeddings(embeddings.vectors, embeddings.rows, embeddings.texts, {pair: gate})
    )
    metadata = pq.read_schema(file).metadata
    assert json.loads(metadata[embed.PAIR_GATES_KEY.encode()]) == [
        {"modalities": ["vision", "text"], "gate": [0.5, 2.0]}
    ]
