import fcntl
import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from jointspace import __version__
from jointspace.batch import ACTION, TEXT, VISION
from jointspace.deploy.bundle import read_bundle, read_manifest, staged_bundle, write_bundle
from jointspace.errors import BundleError, StorageError
from tests.deploy import bundles


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return bundles.make_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


def files_of(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def change_manifest(bundle, **changes):
    """Changes keys (`...` removes one), and makes the digest fit again, as another writer would."""
    path = bundle / "manifest.json"
    stored = json.loads(path.read_text()) | changes
    del stored["digest"]
    content = {key: value for key, value in stored.items() if value is not ...}
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(plain.encode()).hexdigest()
    path.write_text(json.dumps({**content, "digest": digest}))


def test_what_was_written_is_read(bundle):
    read = read_bundle(bundle)
    manifest = read.manifest
    assert manifest.jointspace_version == __version__
    assert manifest.model_id == "0123abcd"
    assert manifest.embed_dim == bundles.DIM
    assert manifest.modalities == (VISION, TEXT, ACTION, bundles.GRIP)
    assert manifest.fused_queries == {bundles.FUSED: (ACTION,)}
    assert [graph.name for graph in manifest.graphs] == list(bundles.BODIES)
    assert manifest.thresholds == {VISION: bundles.THRESHOLD}
    assert manifest.growth == {}
    assert manifest.retrieval == {"vision->text": {"fp32": 0.5, "shipped": 0.5}}
    assert (manifest.dataset, manifest.created_from) == ("factory", {"steps": 10})
    assert (manifest.opset, manifest.engines) == (18, {})
    assert sorted([*manifest.files, "manifest.json"]) == files_of(bundle)
    assert read.gates.keys() == bundles.GATES.keys()
    for pair, gate in bundles.GATES.items():
        np.testing.assert_array_equal(read.gates[pair], gate)
    batch = bundles.batch()
    made = bundles.batch(read.preprocessor)
    np.testing.assert_array_equal(made[ACTION].values, batch[ACTION].values)


def test_thresholds_of_a_growing_stream_are_read_and_an_edit_of_them_is_noticed(tmp_path):
    folder = bundles.make_bundle(tmp_path / "bundle", growth={VISION: bundles.GROWTH})
    assert read_manifest(folder).growth == {VISION: bundles.GROWTH}
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"until_s": 0.5', '"until_s": 0.4'))
    with pytest.raises(BundleError, match="was changed since it was written"):
        read_manifest(folder)


def test_a_bundle_without_gates_or_measurements_is_one_as_well(tmp_path):
    folder = bundles.make_bundle(
        tmp_path / "plain", names=["text"], gates=None, thresholds=None, retrieval=None, facts=None,
        fused_queries=None,
    )  # fmt: skip
    read = read_bundle(folder)
    assert read.gates == {}
    assert "gates.npz" not in files_of(folder)
    assert read.manifest.modalities == (TEXT,)


def test_two_exports_are_equal_byte_for_byte(original, tmp_path):
    again = bundles.make_bundle(tmp_path / "again")
    for name in files_of(original):
        assert (again / name).read_bytes() == (original / name).read_bytes(), name


@pytest.mark.parametrize("name", ["graphs/vision.onnx", "preprocessing.json", "gates.npz",
                                  "self_test.npz", "README.md"])  # fmt: skip
def test_a_changed_byte_and_a_missing_file_are_noticed_and_named(bundle, name):
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        BundleError, match=rf"{name}: was changed since the export.*copy the bundle"
    ):
        read_manifest(bundle)
    path.write_bytes(content + b"more")
    with pytest.raises(
        BundleError, match=rf"{name}: was changed since the export: got {len(content) + 4}"
    ):
        read_manifest(bundle)
    path.unlink()
    with pytest.raises(BundleError, match=rf"{name}: is missing.*copy the whole bundle again"):
        read_manifest(bundle)


def test_a_threshold_that_was_edited_is_noticed(bundle):
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"accept": 0.6', '"accept": 0.1'))
    with pytest.raises(BundleError, match=r"manifest\.json: was changed since it was written"):
        read_manifest(bundle)


def test_the_layout_of_the_manifest_does_not_count(bundle):
    path = bundle / "manifest.json"
    before = read_manifest(bundle)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3, sort_keys=True))
    assert read_manifest(bundle) == before
    assert read_manifest(bundle).digest == before.digest


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_another_version_is_refused_and_says_what_wrote_it(bundle, version):
    change_manifest(bundle, version=version, jointspace_version="9.9")
    with pytest.raises(
        BundleError, match=r"format version .*, this jointspace reads 2; export .*\(9\.9\)"
    ):
        read_manifest(bundle)


def test_a_manifest_without_a_version_is_refused(bundle):
    change_manifest(bundle, version=...)
    with pytest.raises(BundleError, match="has format version None"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graphs": ...}, "lacks a part or has one that is unknown .'graphs'"),
        ({"graphs": [{"name": "text"}]}, "lacks a part or has one that is unknown"),
        ({"files": {}}, r"has no hash of 'graphs/action\.onnx'"),
        ({"thresholds": {"vision": {"accept": 1}}}, "lacks a part or has one that is unknown"),
        ({"modalities": 3}, "lacks a part or has one that is unknown"),
        ({"engines": {"vision": "tensorrt"}}, "no engine 'tensorrt'.*export the run again"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(bundle, changes, message):
    change_manifest(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        read_manifest(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_file_outside_the_bundle_is_refused(bundle, name):
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    change_manifest(bundle, files={**files, name: {"bytes": 1, "sha256": "0"}})
    with pytest.raises(BundleError, match="lies outside the bundle"):
        read_manifest(bundle)


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"cannot be read .*wanted the folder that"):
        read_manifest(tmp_path)
    for content, message in (("{", "is no valid JSON"), ("[]", "holds a list, wanted an object")):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(BundleError, match=message):
            read_manifest(tmp_path)


def test_an_export_that_breaks_leaves_the_earlier_bundle(bundle):
    before = read_manifest(bundle).digest
    with pytest.raises(KeyError):
        bundles.make_bundle(bundle, names=["text", "no such graph"])
    assert read_manifest(bundle).digest == before
    assert [each.name for each in bundle.parent.iterdir()] == ["bundle"]
    with pytest.raises(BundleError, match="was not finished"), staged_bundle(bundle):
        pass
    assert read_manifest(bundle).digest == before


def test_another_export_replaces_the_bundle_whole(bundle):
    bundles.make_bundle(bundle, names=["text"], fused_queries=None)
    assert read_manifest(bundle).modalities == (TEXT,)
    assert not (bundle / "graphs" / "vision.onnx").exists()
    assert [each.name for each in bundle.parent.iterdir()] == ["bundle"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StorageError, match="is no bundle and not empty"), staged_bundle(tmp_path):
        pass
    assert (tmp_path / "thesis.tex").exists()
    (tmp_path / "empty").mkdir()
    assert read_manifest(bundles.make_bundle(tmp_path / "empty", names=["text"])).modalities


def test_a_disk_that_refuses_is_an_error_of_storage(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "bundle"
    with pytest.raises(StorageError, match="could not be written"), staged_bundle(place):
        pass


def test_graphs_come_before_the_rest(tmp_path):
    graph = bundles.write_graph(tmp_path, "text")
    (tmp_path / graph.file).unlink()
    with pytest.raises(BundleError, match=r"text\.onnx: is not there; write the graphs first"):
        write_bundle(
            tmp_path, graphs=[graph], preprocessor=bundles.preprocessor(), model_id="0", card=""
        )


def test_preprocessing_of_another_version_is_refused(bundle):
    path = bundle / "preprocessing.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    stored = json.loads((bundle / "manifest.json").read_text())["files"]
    content = path.read_bytes()
    change = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change_manifest(bundle, files={**stored, "preprocessing.json": change})
    with pytest.raises(BundleError, match="has format version 99"):
        read_bundle(bundle)


def test_what_a_killed_export_left_behind_is_removed_by_the_next_one(tmp_path):
    abandoned = tmp_path / ".bundle.999999.tmp"
    (abandoned / "graphs").mkdir(parents=True)
    others = [tmp_path / ".bundle2.999999.tmp", tmp_path / ".bundle.notes.tmp"]
    for each in others:
        each.mkdir()
    bundles.make_bundle(tmp_path / "bundle")
    assert not abandoned.exists()
    assert all(each.is_dir() for each in others)


def test_what_another_export_is_building_is_left_alone(tmp_path):
    beside = tmp_path / ".bundle.999999.tmp"
    beside.mkdir()
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        bundles.make_bundle(tmp_path / "bundle")
        assert beside.is_dir()
    finally:
        os.close(descriptor)
    bundles.make_bundle(tmp_path / "bundle")
    assert not beside.exists()
