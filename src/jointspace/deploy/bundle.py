"""The folder that a robot runs: written whole or not at all, verified byte by byte when read."""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float32

from jointspace import __version__
from jointspace.batch import Modality, Pair
from jointspace.data.preprocess import PREPROCESSING_FILE, Preprocessor
from jointspace.deploy.graph import GRAPH_FOLDER, Graph, runtime_graphs
from jointspace.deploy.manifest import MANIFEST_FILE, Engine, Manifest, StoredFile
from jointspace.deploy.self_test import SELF_TEST_FILE, self_test_rows
from jointspace.deploy.session import choose_engines
from jointspace.deploy.towers import Towers
from jointspace.errors import BundleError, RunFolderError, StorageError
from jointspace.evaluation.decision import GrowthThreshold, MatchThreshold
from jointspace.storage import force_folder, write_whole

GATES_FILE = "gates.npz"
CARD_FILE = "README.md"

_BETWEEN = "|"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file is as it was written.

    Attributes:
        manifest: what it says of itself.
        preprocessor: from raw rows to what graphs take.
        gates: what each dimension counts where a pair is compared; empty where pairs are compared
            by cosine.
        self_test: rows that it must compute again, see `self_test.check_self_test`.
    """

    manifest: Manifest
    preprocessor: Preprocessor
    gates: Mapping[Pair, Float32[np.ndarray, " dim"]]
    self_test: Mapping[Modality, Float32[np.ndarray, " dim"]]


@contextmanager
def staged_bundle(folder: Path) -> Iterator[Path]:
    """Gives a folder to build a bundle in, which takes the place of `folder` once it is complete.

    What an export of the same bundle left behind that was killed is removed first.

    Args:
        folder: the bundle to be; replaced if it is one.

    Yields:
        An empty folder beside it.

    Raises:
        StorageError: `folder` holds something that is no bundle, or the disk refuses.
        BundleError: what was built has no manifest.
    """
    if folder.exists() and not (folder / MANIFEST_FILE).is_file() and any(folder.iterdir()):
        raise StorageError(f"{folder}: is no bundle and not empty; choose another folder")
    place = folder.resolve()
    aside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    earlier = place.with_name(f".{place.name}.{os.getpid()}.old")
    lock = -1
    try:
        aside.mkdir(parents=True)
        lock = _lock(aside)
        _remove_abandoned(place, but=aside)
        yield aside
        if not (aside / MANIFEST_FILE).is_file():
            raise BundleError(f"{folder}: was not finished, write_bundle comes last")
        if place.exists():
            place.rename(earlier)
        aside.rename(place)
        force_folder(place.parent)
    except OSError as error:
        raise StorageError(f"{folder}: could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if earlier.exists() and not place.exists():
            earlier.rename(place)
        shutil.rmtree(earlier, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def write_bundle(
    folder: Path,
    *,
    graphs: Sequence[Graph],
    preprocessor: Preprocessor,
    model_id: str,
    fused_queries: Mapping[Modality, Sequence[Modality]] | None = None,
    gates: Mapping[Pair, Float32[np.ndarray, " dim"]] | None = None,
    thresholds: Mapping[Modality, MatchThreshold] | None = None,
    growth: Mapping[Modality, GrowthThreshold] | None = None,
    retrieval: Mapping[str, Any] | None = None,
    card: str,
    facts: Mapping[str, Any] | None = None,
    dataset: str = "",
    opset: int = 18,
    engines: Mapping[str, Engine] | None = None,
    left_out: Mapping[Modality, str] | None = None,
) -> Manifest:
    """Writes all of a bundle but the graphs, which lie in the folder already. The manifest is last.

    The graphs are run once, for the rows of the self-test.

    Args:
        folder: holds the files of `graphs`; from `staged_bundle` where it shall appear whole.
        graphs: what the exporter made.
        preprocessor: of the run.
        model_id: hash of the weights.
        fused_queries: name of each fused query -> the modalities that it is to retrieve.
        gates: pair -> gate; fused queries of one target share the gate of any of them.
        thresholds: modality -> calibrated threshold against text.
        growth: modality -> threshold for a stream that grows.
        retrieval: what was measured.
        card: the model card, in Markdown.
        facts: of the run.
        dataset: name of what it was trained on.
        opset: of the graphs.
        engines: name of a graph -> the engine to prefer.
        left_out: name of a fused query that has no graph -> why.

    Returns:
        The manifest as written.

    Raises:
        BundleError: a graph's file is not there, or does not run.
        StorageError: a file could not be written.
        MissingExtraError: no engine is installed.
    """
    (folder / MANIFEST_FILE).unlink(missing_ok=True)  # until the new one, it is no bundle
    for graph in graphs:
        if not (folder / graph.file).is_file():
            raise BundleError(f"{folder / graph.file}: is not there; write the graphs first")
    preprocessor.save(folder)
    write_whole(folder / CARD_FILE, card)
    towers = Towers(
        folder,
        graphs=graphs,
        preprocessor=preprocessor,
        engine=choose_engines(
            "auto", graphs=[graph.name for graph in runtime_graphs(graphs)], preferred=engines
        ),
    )
    _save_arrays(folder / SELF_TEST_FILE, self_test_rows(towers, preprocessor))
    named = {_BETWEEN.join(sorted(pair)): gate for pair, gate in (gates or {}).items()}
    if named:
        _save_arrays(folder / GATES_FILE, named)
    names = [CARD_FILE, PREPROCESSING_FILE, SELF_TEST_FILE, *([GATES_FILE] if named else [])]
    # Weights that a large graph keeps beside itself are files of the bundle as well.
    below = sorted(path for path in (folder / GRAPH_FOLDER).rglob("*") if path.is_file())
    names += [path.relative_to(folder).as_posix() for path in below]
    manifest = Manifest(
        jointspace_version=__version__,
        model_id=model_id,
        embed_dim=towers.embed_dim,
        modalities=tuple(m for m in towers.modalities if "+" not in m),
        fused_queries={query: tuple(each) for query, each in (fused_queries or {}).items()},
        graphs=tuple(graphs),
        thresholds=dict(thresholds or {}),
        growth=dict(growth or {}),
        retrieval=dict(retrieval or {}),
        created_from=dict(facts or {}),
        dataset=dataset,
        opset=opset,
        engines=dict(engines or {}),
        left_out=dict(left_out or {}),
        files={name: _stored(folder / name) for name in names},
    )
    text = json.dumps(manifest.to_json(), indent=1, allow_nan=False) + "\n"
    write_whole(folder / MANIFEST_FILE, text)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a bundle and verifies every file that it names.

    Args:
        folder: the bundle.

    Returns:
        The manifest.

    Raises:
        BundleError: there is no bundle, it is of another version, a file is missing, its size or
            hash is another one, or a graph is not among the files.
    """
    path = folder / MANIFEST_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror or error}); wanted the folder that "
            "`jointspace export` wrote"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path}: is no valid JSON ({error}); export the run again") from error
    if not isinstance(stored, dict):
        raise BundleError(f"{path}: holds a {type(stored).__name__}, wanted an object")
    try:
        manifest = Manifest.from_json(stored)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    unlisted = {PREPROCESSING_FILE, SELF_TEST_FILE, *(graph.file for graph in manifest.graphs)}
    unlisted -= manifest.files.keys()
    if unlisted:
        raise BundleError(f"{path}: has no hash of '{min(unlisted)}'; export the run again")
    for name, expected in manifest.files.items():
        _verify(folder, name, expected)
    return manifest


def read_bundle(folder: Path) -> Bundle:
    """Reads a bundle and verifies every file of it.

    Args:
        folder: the bundle.

    Returns:
        What is in it, without the graphs.

    Raises:
        BundleError: as `read_manifest`, or the preprocessing is of another version.
        MissingExtraError: the tokenizer is a pretrained one, and its package is not installed.
    """
    manifest = read_manifest(folder)
    try:
        preprocessor = Preprocessor.load(folder)
    except RunFolderError as error:
        raise BundleError(str(error)) from error
    gates = _load_arrays(folder / GATES_FILE) if GATES_FILE in manifest.files else {}
    rows = _load_arrays(folder / SELF_TEST_FILE)
    return Bundle(
        manifest,
        preprocessor,
        {frozenset(map(Modality, name.split(_BETWEEN))): gate for name, gate in gates.items()},
        {Modality(name): row for name, row in rows.items()},
    )


def _lock(folder: Path) -> int:
    """Marks a folder as in use for as long as the process lives and the descriptor is open."""
    import fcntl  # noqa: PLC0415 - a robot that only reads bundles may be without

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(place: Path, *, but: Path) -> None:
    """Removes what exports of this bundle left behind that were killed, but nothing in use."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.tmp"):
        number = left.name.removeprefix(f".{place.name}.").removesuffix(".tmp")
        if left == but or not number.isdecimal() or not left.is_dir():
            continue
        try:
            descriptor = _lock(left)
        except OSError:  # another export builds in it
            continue
        shutil.rmtree(left, ignore_errors=True)
        os.close(descriptor)


def _stored(path: Path) -> StoredFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return StoredFile(path.stat().st_size, digest.hexdigest())


def _verify(folder: Path, name: str, expected: StoredFile) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise BundleError(f"{folder}: its manifest names '{name}', which lies outside the bundle")
    try:
        found = _stored(folder / name)
    except OSError as error:
        raise BundleError(
            f"{folder / name}: is missing or cannot be read ({error.strerror or error}); copy the "
            "whole bundle again"
        ) from error
    if found != expected:
        raise BundleError(
            f"{folder / name}: was changed since the export: got {found.bytes} bytes with hash "
            f"{found.sha256[:12]}, wanted {expected.bytes} with {expected.sha256[:12]}; copy the "
            "bundle again, or export the run again"
        )


def _save_arrays(path: Path, arrays: Mapping[Any, np.ndarray]) -> None:
    named: dict[str, Any] = {str(name): np.float32(each) for name, each in arrays.items()}
    with path.open("wb") as file:
        np.savez(file, **named)


def _load_arrays(path: Path) -> dict[str, Float32[np.ndarray, " dim"]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
