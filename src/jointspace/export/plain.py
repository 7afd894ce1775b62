"""A model as a bundle in float32 as it is: nothing measured, nothing quantised."""

import hashlib
from pathlib import Path

from jointspace.data.preprocess import Preprocessor
from jointspace.deploy.bundle import staged_bundle, write_bundle
from jointspace.deploy.manifest import Manifest
from jointspace.evaluation.embedding import pair_gates
from jointspace.export.graphs import export_graphs
from jointspace.models.embed import TorchEmbedder
from jointspace.models.joint import JointModel


def export_plain(model: JointModel, preprocessor: Preprocessor, folder: Path) -> Manifest:
    """Exports a model to be timed. It has no thresholds, and no retrieval was measured.

    Args:
        model: on the processor.
        preprocessor: of one robot.
        folder: the bundle to write.

    Returns:
        Its manifest.

    Raises:
        ExportError: the model cannot be exported.
        MissingExtraError: a package of the extra `export` is not installed.
        StorageError: a file cannot be written.
    """
    embedder = TorchEmbedder(model, only=preprocessor.modalities)
    targets = {query.name: (query.target,) for query in model.fused_queries}
    with staged_bundle(folder) as aside:
        graphs = export_graphs(model, preprocessor, aside)
        content = b"".join((aside / graph.file).read_bytes() for graph in graphs)
        return write_bundle(
            aside,
            graphs=graphs,
            preprocessor=preprocessor,
            model_id=hashlib.sha256(content).hexdigest(),
            fused_queries={
                name: target for name, target in targets.items() if name in embedder.modalities
            },
            gates=pair_gates(embedder, embedder.modalities),
            card="# For timing alone\n\nNothing of this bundle was measured but its speed.\n",
        )
