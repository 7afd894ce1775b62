"""The `data` folder of a LeRobot data set: Parquet columns, under any of their names, to arrays."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32, Float64, Int64

from jointspace.errors import DataError

ACTION_KEYS = ("action", "actions")
STATE_KEYS = ("observation.state", "state", "observation.states", "states")
TEXT_KEYS = ("language_instruction", "instruction", "task")
ANNOTATION_KEY = "annotation.human.action.task_description"
NESTED = "several vectors per step, as action chunks are; expected one list of numbers per step"


@dataclass(frozen=True)
class Columns:
    """Which columns of the tables hold what; several columns of one role are joined in order.

    Attributes:
        action: at least one.
        state: empty if there is no state.
        sensors: further numeric observations, one feature each.
        images: encoded pictures, one camera each.
    """

    action: tuple[str, ...]
    state: tuple[str, ...]
    sensors: tuple[str, ...]
    images: tuple[str, ...]


@dataclass(frozen=True)
class EpisodeRows:
    """The rows of one episode, in the order of their frame index.

    Attributes:
        file: the Parquet file.
        index: the episode's number.
        first_row: the episode's first row within the file.
        in_order: whether the rows lie one after the other in the file, as pictures in it must.
        frame_index: the frame of the episode's video that each row belongs to.
        recorded_s: recorded timestamps, seconds; None without the column.
        text: an instruction in a text column; empty without one.
        task_indices: the distinct task indices in order of appearance.
        annotation_indices: the same of GR00T's annotation of the task.
    """

    file: Path
    index: int
    first_row: int
    in_order: bool
    frame_index: Int64[np.ndarray, " time"]
    action: Float32[np.ndarray, "time action_dim"]
    state: Float32[np.ndarray, "time state_dim"] | None
    sensors: Mapping[str, Float32[np.ndarray, "time _"]]
    recorded_s: Float64[np.ndarray, " time"] | None
    text: str
    task_indices: tuple[int, ...]
    annotation_indices: tuple[int, ...]


def find_columns(schema: pa.Schema, file: Path) -> Columns:
    """Finds the columns that hold action, state, sensors and pictures.

    Args:
        schema: of one of the tables.
        file: the table's file, for the message.

    Returns:
        The columns by role.

    Raises:
        DataError: no column holds an action.
    """
    numeric = [f.name for f in schema if _is_numeric(f.type)]
    action = _role(numeric, ACTION_KEYS, [f.name for f in schema])
    state = _role(numeric, STATE_KEYS, [f.name for f in schema])
    if not action:
        raise DataError(file, f"no action column; the columns are {', '.join(schema.names)}")
    for name in (*action, *state):
        kind = schema.field(name).type
        if _is_list(kind) and _is_list(kind.value_type):
            raise DataError(file, f"column '{name}' holds {kind}: {NESTED}")
    sensors = [n for n in numeric if n.startswith("observation") and n not in state]
    images = [f.name for f in schema if _is_image(f)]
    return Columns(action, state, tuple(sensors), tuple(images))


def read_table(file: Path, columns: Columns) -> pa.Table:
    """Reads the numbers and texts of a table, without its pictures.

    Raises:
        DataError: the file is no readable Parquet file.
    """
    wanted = {*columns.action, *columns.state, *columns.sensors, *_NUMBER_COLUMNS, *TEXT_KEYS}
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read(columns=[n for n in parquet.schema_arrow.names if n in wanted])
    except (OSError, pa.ArrowException) as error:
        raise DataError(file, _unreadable(file, error)) from None


def read_schema(file: Path) -> pa.Schema:
    """Reads the columns' names and types.

    Raises:
        DataError: the file is no readable Parquet file.
    """
    try:
        return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(file, _unreadable(file, error)) from None


def split_episodes(
    table: pa.Table, columns: Columns, *, file: Path, named_episode: int | None = None
) -> Iterator[EpisodeRows]:
    """Splits a table into its episodes.

    Args:
        table: from `read_table`.
        columns: what is where.
        file: the table's file.
        named_episode: the episode that the file's name says it holds; None if it says none.

    Yields:
        One item per episode, in order of appearance.

    Raises:
        DataError: the columns are not as `columns` says, or are nested or ragged.
    """
    missing = [name for name in (*columns.action, *columns.state) if name not in table.column_names]
    if missing:
        raise DataError(file, f"no column {', '.join(missing)}, which the other tables have")
    matrices = {
        name: to_matrix(table[name], file=file, name=name)
        for name in (*columns.action, *columns.state)
    }
    for name in columns.sensors:
        if name in table.column_names:
            # A sensor is no reason to refuse a data set: the caller drops what some episodes lack.
            with contextlib.suppress(DataError):
                matrices[name] = to_matrix(table[name], file=file, name=name)
    small = {n: _to_vector(table[n]) for n in _NUMBER_COLUMNS if n in table.column_names}
    for index, found in _episodes(file, table.num_rows, small, named_episode):
        rows, frames = _in_frame_order(found, small.get("frame_index"))
        yield EpisodeRows(
            file=file,
            index=index,
            first_row=int(rows[0]) if len(rows) else 0,
            in_order=bool((np.diff(rows) == 1).all()),
            frame_index=frames,
            action=_join(matrices, columns.action, rows),
            state=_join(matrices, columns.state, rows) if columns.state else None,
            sensors={n: matrices[n][rows] for n in columns.sensors if n in matrices},
            recorded_s=small["timestamp"][rows] if "timestamp" in small else None,
            text=_first_text(table, rows),
            task_indices=_distinct(small, "task_index", rows),
            annotation_indices=_distinct(small, ANNOTATION_KEY, rows),
        )


def to_matrix(column: pa.ChunkedArray, *, file: Path, name: str) -> Float32[np.ndarray, "time dim"]:
    """Turns a column of numbers, or of equally long lists of them, into a matrix.

    Lists may be variable or fixed in size and of any number type. A missing value becomes NaN.

    Args:
        column: the column.
        file: its file, for the message.
        name: its name, for the message.

    Returns:
        One row per row of the table.

    Raises:
        DataError: rows of different lengths, no number in any row, lists of lists, or something
            that is no number.
    """
    array = _plain(column)
    if not len(array):  # writers leave the type of an empty column open
        return np.zeros((0, 0), dtype=np.float32)
    if not _is_list(array.type):
        if not _is_number(array.type):
            raise DataError(file, f"column '{name}' holds {array.type}; expected numbers")
        return _to_float32(array)[:, None]
    if _is_list(array.type.value_type):
        raise DataError(file, f"column '{name}' holds {array.type}: {NESTED}")
    if not _is_number(array.type.value_type):
        raise DataError(file, f"column '{name}' holds {array.type}; expected lists of numbers")
    lengths = pc.fill_null(pc.list_value_length(array), -1).to_numpy(zero_copy_only=False)
    width = int(lengths.max(initial=0))
    odd = np.flatnonzero((lengths != width) & (lengths >= 0))
    if len(odd):
        raise DataError(
            file,
            f"column '{name}' has {lengths[odd[0]]} numbers in row {odd[0]}, {width} in others; "
            "expected the same number in every step",
        )
    if not width:  # neither an action nor a sensor of no dimensions can be learnt from
        raise DataError(
            file,
            f"column '{name}' is null or an empty list in each of {len(array)} rows; expected a "
            "list of numbers in every step",
        )
    matrix = np.full((len(array), width), np.nan, dtype=np.float32)
    present = pc.is_valid(array).to_numpy(zero_copy_only=False)
    matrix[present] = _to_float32(pc.list_flatten(array)).reshape(int(present.sum()), width)
    return matrix


_NUMBER_COLUMNS = ("frame_index", "episode_index", "task_index", "timestamp", ANNOTATION_KEY)


def _episodes(
    file: Path,
    num_rows: int,
    small: Mapping[str, Float64[np.ndarray, " row"]],
    named_episode: int | None,
) -> Iterator[tuple[int, Int64[np.ndarray, " time"]]]:
    numbers = small.get("episode_index")
    distinct = [] if numbers is None else list(dict.fromkeys(numbers.tolist()))
    # A file of one episode is paired with its video by its name, and merged data sets forget to
    # renumber the column.
    if named_episode is not None and len(distinct) <= 1:
        yield named_episode, np.arange(num_rows)
        return
    if numbers is None:
        raise DataError(file, "no column episode_index, and the file's name has no episode number")
    for number in distinct:
        yield int(number), np.flatnonzero(numbers == number)


def _in_frame_order(
    rows: Int64[np.ndarray, " time"], frame_index: Float64[np.ndarray, " row"] | None
) -> tuple[Int64[np.ndarray, " time"], Int64[np.ndarray, " time"]]:
    if frame_index is None:
        return rows, np.arange(len(rows))
    frames = frame_index[rows].astype(np.int64)
    order = np.argsort(frames, kind="stable")
    return rows[order], frames[order]


def _role(numeric: Sequence[str], keys: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The column called like one of `keys`, else all columns that continue one: `action.x`."""
    for key in keys:
        if key in names:
            return (key,)
    for key in keys:
        parts = tuple(n for n in numeric if n.startswith((f"{key}.", f"{key}_", f"{key}/")))
        if parts:
            return parts
    return ()


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)


def _is_numeric(kind: pa.DataType) -> bool:
    if _is_list(kind):
        return _is_number(kind.value_type)
    # A bare flag such as `action_is_pad` is no dimension of an action.
    return _is_number(kind) and not pa.types.is_boolean(kind)


def _is_image(field: pa.Field) -> bool:
    kind = field.type
    if pa.types.is_struct(kind):
        return {kind.field(i).name for i in range(kind.num_fields)} >= {"bytes", "path"}
    return "image" in field.name and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _to_float32(array: pa.Array) -> Float32[np.ndarray, " value"]:
    if not pa.types.is_float32(array.type):
        array = pc.cast(array, pa.float64(), safe=False)
    with np.errstate(over="ignore", invalid="ignore"):  # too large is infinite, and reported so
        return array.to_numpy(zero_copy_only=False).astype(np.float32)


def _to_vector(column: pa.ChunkedArray) -> Float64[np.ndarray, " time"]:
    """One number per row, also from lists of one; what is missing or no number becomes -1."""
    array = _plain(column)
    if _is_list(array.type):
        array = pc.list_element(array, 0) if len(array) else pa.array([], array.type.value_type)
    if not _is_number(array.type):
        return np.full(len(array), -1.0)
    values = pc.fill_null(pc.cast(array, pa.float64(), safe=False), -1.0)
    return np.nan_to_num(values.to_numpy(zero_copy_only=False), nan=-1.0)


def _join(
    matrices: Mapping[str, Float32[np.ndarray, "row _"]],
    names: Sequence[str],
    rows: Int64[np.ndarray, " time"],
) -> Float32[np.ndarray, "time dim"]:
    return np.concatenate([matrices[name][rows] for name in names], axis=1)


def _distinct(
    small: Mapping[str, Float64[np.ndarray, " row"]], name: str, rows: Int64[np.ndarray, " time"]
) -> tuple[int, ...]:
    values = small[name][rows].tolist() if name in small else []
    return tuple(int(i) for i in dict.fromkeys(values) if i >= 0)


def _first_text(table: pa.Table, rows: Int64[np.ndarray, " time"]) -> str:
    for name in TEXT_KEYS:
        if name in table.column_names and len(rows):
            value = table[name][int(rows[0])].as_py()
            if isinstance(value, str) and value.strip():
                return value
    return ""


def _unreadable(file: Path, error: Exception) -> str:
    if file.is_file() and file.stat().st_size == 0:
        return "the file is empty"
    return f"not a readable Parquet file: {str(error).strip().splitlines()[0]}"
