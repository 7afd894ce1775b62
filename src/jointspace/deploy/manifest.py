"""What a bundle says of itself: graphs, thresholds, measured retrieval, files and hashes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from jointspace.batch import Modality
from jointspace.deploy.graph import Graph
from jointspace.errors import BundleError, InputError
from jointspace.evaluation.decision import GrowthStage, GrowthThreshold, MatchThreshold

BUNDLE_VERSION = 2
"""Format of a bundle, stored in its manifest."""

MANIFEST_FILE = "manifest.json"

Engine = Literal["onnxruntime", "openvino"]
"""What runs the graphs."""

_PLAIN = (
    "jointspace_version",
    "model_id",
    "embed_dim",
    "opset",
    "engines",
    "dataset",
    "created_from",
    "retrieval",
    "left_out",
)


@dataclass(frozen=True)
class StoredFile:
    """A file of a bundle as it was written.

    Attributes:
        bytes: its size.
        sha256: of its content, in hexadecimal.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a bundle but the numbers in its graphs.

    Attributes:
        jointspace_version: of the program that wrote it.
        model_id: hash of the weights.
        embed_dim: width of the joint space.
        modalities: what it embeds, without fused queries.
        fused_queries: name of each fused query -> the modalities that it is to retrieve.
        graphs: all graphs, static variants included.
        thresholds: modality -> from which similarity with a text that text applies.
        growth: modality -> the same for a stream that grows since its instruction was given.
        retrieval: direction, such as `vision->text` -> what was measured, float32 and as shipped.
        created_from: facts of the run.
        dataset: name of what it was trained on.
        left_out: name of a fused query that the model has and the bundle has not -> why, and the
            cure.
        opset: of the graphs.
        engines: name of a graph -> what the exporter found fastest, used where it is installed;
            graphs that are not named run on ONNX Runtime.
        files: path below the bundle -> size and hash; all files but the manifest.
    """

    jointspace_version: str
    model_id: str
    embed_dim: int
    modalities: tuple[Modality, ...]
    graphs: tuple[Graph, ...]
    files: Mapping[str, StoredFile]
    fused_queries: Mapping[Modality, tuple[Modality, ...]] = field(default_factory=dict)
    thresholds: Mapping[Modality, MatchThreshold] = field(default_factory=dict)
    growth: Mapping[Modality, GrowthThreshold] = field(default_factory=dict)
    retrieval: Mapping[str, Any] = field(default_factory=dict)
    created_from: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[Modality, str] = field(default_factory=dict)
    dataset: str = ""
    opset: int = 18
    engines: Mapping[str, Engine] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of the whole bundle, since the manifest holds the hash of every file."""
        return _digest(self._content())

    def to_json(self) -> dict[str, Any]:
        """Returns what `from_json` reads back."""
        content = self._content()
        return {**content, "digest": _digest(content)}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "Manifest":
        """Reads what `to_json` returned.

        Args:
            stored: the parsed manifest.

        Returns:
            The manifest.

        Raises:
            BundleError: it is of another format version, was changed since it was written, or lacks
                a part. The message has no path: the caller knows it.
        """
        if stored.get("version") != BUNDLE_VERSION:
            raise BundleError(
                f"has format version {stored.get('version')!r}, this jointspace reads "
                f"{BUNDLE_VERSION}; export the run again, or use the jointspace that wrote the "
                f"bundle ({stored.get('jointspace_version', 'it does not say which')})"
            )
        content = {key: value for key, value in stored.items() if key != "digest"}
        if stored.get("digest") != _digest(content):
            raise BundleError(
                "was changed since it was written: its digest does not fit; copy the bundle again, "
                "or export the run again"
            )
        try:
            _check_engines(content["engines"].values())
            return Manifest(
                **{key: content[key] for key in _PLAIN},
                modalities=tuple(map(Modality, content["modalities"])),
                fused_queries={
                    Modality(query): tuple(map(Modality, targets))
                    for query, targets in content["fused_queries"].items()
                },
                graphs=tuple(map(Graph.from_json, content["graphs"])),
                thresholds={
                    Modality(query): MatchThreshold(**each)
                    for query, each in content["thresholds"].items()
                },
                growth={
                    Modality(query): _growth(each) for query, each in content["growth"].items()
                },
                files={path: StoredFile(**each) for path, each in content["files"].items()},
            )
        except (AttributeError, InputError, KeyError, TypeError) as error:
            raise BundleError(
                f"lacks a part or has one that is unknown ({error}); export the run again"
            ) from error

    def _content(self) -> dict[str, Any]:
        return {
            "version": BUNDLE_VERSION,
            **{key: getattr(self, key) for key in _PLAIN},
            "modalities": list(self.modalities),
            "fused_queries": {query: list(each) for query, each in self.fused_queries.items()},
            "graphs": [graph.to_json() for graph in self.graphs],
            "thresholds": {query: asdict(each) for query, each in self.thresholds.items()},
            "growth": {query: asdict(each) for query, each in self.growth.items()},
            "files": {path: asdict(each) for path, each in self.files.items()},
        }


def _check_engines(names: Iterable[str]) -> None:
    unknown = set(names) - set(get_args(Engine))
    if unknown:
        raise InputError(f"no engine '{min(unknown)}'")


def _growth(stored: Mapping[str, Any]) -> GrowthThreshold:
    stages = tuple(GrowthStage(**each) for each in stored["stages"])
    return GrowthThreshold(**{**stored, "stages": stages})


def _digest(content: Mapping[str, Any]) -> str:
    # Sorted and without spaces: how the file is laid out does not count, what it says does.
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()
