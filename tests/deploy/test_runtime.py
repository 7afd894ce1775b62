import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jointspace.batch import ACTION, STATE, TEXT, VISION, Batch, Modality, ModalityInput, gated_rows
from jointspace.deploy import towers
from jointspace.deploy.bundle import staged_bundle, write_bundle
from jointspace.deploy.checks import check_texts
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.towers import Towers
from jointspace.embedder import Embedder
from jointspace.errors import BundleError, InputError
from tests.deploy import bundles
from tests.deploy.bundles import CENTRE, CHANNELS, DIM, FPS, FUSED, GATES, GRIP, PX, SCALE, WIDTH

# fmt: off
HEAVY = [
    "PIL", "av", "cattrs", "matplotlib", "onnx", "openvino", "pandas", "pyarrow", "rich",
    "safetensors", "scipy", "tokenizers", "torch", "transformers", "tyro",
]
# fmt: on


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bundles.make_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def embedder(request, folder):
    pytest.importorskip(request.param)
    return BundleEmbedder.load(folder, engine=request.param)


def trajectory(steps=6, *, seed=0):
    """Raw values and their times."""
    rng = np.random.default_rng(seed)
    values = CENTRE + SCALE * rng.normal(size=(2, steps, CHANNELS)).astype(np.float32)
    return values, np.tile(np.arange(steps) / FPS, (2, 1)).astype(np.float32)


# --- as an embedder -------------------------------------------------------------------------------


def test_it_is_an_embedder_of_the_modalities_and_fused_queries_that_it_has_graphs_for(embedder):
    assert isinstance(embedder, Embedder)
    assert embedder.modalities == (VISION, TEXT, ACTION, GRIP, FUSED)
    assert embedder.embed_dim == DIM
    assert embedder.thresholds[VISION].accept == 0.6


@pytest.mark.parametrize("modality", [VISION, TEXT, ACTION, GRIP, FUSED])
def test_rows_of_a_batch_are_those_of_the_graphs(embedder, modality):
    batch = bundles.batch()
    rows = embedder.embed(modality, batch)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, bundles.expected_rows(modality, batch), atol=1e-6)
    lengths = np.linalg.norm(rows, axis=1)
    present = [True, modality in {TEXT, ACTION, FUSED}, False]
    np.testing.assert_allclose(lengths, present, atol=1e-6)


@pytest.mark.parametrize("modality", [VISION, TEXT, ACTION, GRIP, FUSED])
def test_masked_entries_and_empty_batches_do_not_count(embedder, modality):
    batch = bundles.batch()
    spoiled = {}
    for name, each in batch.inputs.items():
        hidden = ~each.valid.reshape(
            *each.valid.shape, *(1,) * (each.values.ndim - each.valid.ndim)
        )
        rubbish = np.nan if each.values.dtype == np.float32 else 77
        times = each.time_s
        if times is not None:
            seen = each.valid.reshape(*times.shape, -1).any(axis=2)
            times = np.where(seen, times, np.float32(np.nan))
        spoiled[name] = ModalityInput(
            np.where(hidden, np.asarray(rubbish, each.values.dtype), each.values), each.valid, times
        )
    np.testing.assert_array_equal(
        embedder.embed(modality, Batch(spoiled, batch.rows)), embedder.embed(modality, batch)
    )
    none = {name: each.map(lambda array: array[:0]) for name, each in batch.inputs.items()}
    empty = Batch(none, batch.rows.take(np.zeros(0, np.int64)))
    assert embedder.embed(modality, empty).shape == (0, DIM)
    without_steps = batch.map(lambda array: array[:, :0])
    assert not embedder.embed(modality, without_steps).any()


def test_a_large_batch_of_pictures_gives_the_rows_of_its_pictures_alone(embedder):
    frames = bundles.pictures(70)
    together = embedder.encode_frames(frames)
    alone = np.concatenate([embedder.encode_frames(each[None]) for each in frames])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_batch_without_times_or_of_other_cameras_is_refused(embedder):
    batch = bundles.batch()
    action, vision = batch[ACTION], batch[VISION]

    def refused(modality, message, values=None, **changes):
        given = batch[modality]
        made = ModalityInput(
            given.values if values is None else values,
            changes.get("valid", given.valid),
            changes.get("time_s", given.time_s),
        )
        with pytest.raises(InputError, match=message):
            embedder.embed(modality, Batch({modality: made}, batch.rows))

    refused(ACTION, "'action': got times of none", time_s=None)
    backwards = action.time_s[:, ::-1].copy()
    refused(ACTION, "'action': got times that go backwards", time_s=backwards)
    refused(VISION, "times of none", time_s=None)
    one = vision.values[:, :, :1], vision.valid[:, :, :1]
    refused(VISION, r"'vision': got pictures of shape.*front, wrist", one[0], valid=one[1])
    refused(VISION, "of type float32", vision.values.astype(np.float32))
    wrong = batch[TEXT].values.copy()
    wrong[0, 1] = 10_000
    refused(TEXT, r"'text': got ids in \[0, 10000\]; wanted \[0, ", wrong)
    refused(TEXT, "'text': got ids of type float64", batch[TEXT].values.astype(float))
    refused(GRIP, r"'grip': got ids in \[-1,", batch[GRIP].values - 1)
    features = np.zeros((*vision.valid.shape, 4, 16), np.float32)
    refused(VISION, "'vision': got pictures of shape", features)


def test_unknown_modalities_are_refused_by_name(embedder):
    batch = bundles.batch()
    with pytest.raises(InputError, match=r"no modality 'visoin'\. Did you mean 'vision'"):
        embedder.embed(Modality("visoin"), batch)
    with pytest.raises(InputError, match=r"no modality 'text\+action'"):
        embedder.embed(Modality("text+action"), batch)
    with pytest.raises(InputError, match="batch: no modality 'vision'"):
        embedder.embed(VISION, Batch({TEXT: batch[TEXT]}, batch.rows))


# --- in real time ---------------------------------------------------------------------------------


def test_raw_input_gives_the_rows_of_the_batch(embedder):
    batch = bundles.batch()
    values, valid = batch[VISION].values, batch[VISION].valid
    vectors = np.zeros((*valid.shape, WIDTH), np.float32)
    vectors[valid] = embedder.encode_frames(values[valid])
    rows = embedder.embed_frames(vectors, valid, batch[VISION].time_s)
    np.testing.assert_allclose(rows, embedder.embed(VISION, batch), atol=1e-6)
    rows = embedder.embed_texts(["push the red cube", "pull the cup"])
    np.testing.assert_allclose(rows, embedder.embed(TEXT, batch)[:2], atol=1e-6)
    raw = embedder.preprocessor.normalisers[ACTION].inverse(batch[ACTION].values)
    rows = embedder.embed_steps(ACTION, raw, batch[ACTION].valid, batch[ACTION].time_s)
    np.testing.assert_allclose(rows, embedder.embed(ACTION, batch), atol=1e-5)
    rows = embedder.embed_steps(GRIP, np.array([[1, 3, 0]], np.int32))
    np.testing.assert_allclose(rows[0], embedder.embed(GRIP, batch)[0], atol=1e-6)


def test_steps_without_times_come_at_the_rate_of_the_training_data(embedder):
    values, time_s = trajectory()
    np.testing.assert_array_equal(
        embedder.embed_steps(ACTION, values), embedder.embed_steps(ACTION, values, None, time_s)
    )
    other = embedder.embed_steps(ACTION, values, None, time_s * 7)
    assert np.abs(other - embedder.embed_steps(ACTION, values)).max() > 1e-3


def test_double_precision_and_views_are_as_good(embedder):
    values, time_s = trajectory()
    wide = np.repeat(values.astype(np.float64), 2, axis=2)[..., ::2]
    expected = embedder.embed_steps(ACTION, values, None, time_s)
    np.testing.assert_allclose(embedder.embed_steps(ACTION, wide), expected, atol=1e-6)
    frames = bundles.pictures(3)
    np.testing.assert_array_equal(
        embedder.encode_frames(frames[:, ::-1, :, ::-1]),
        embedder.encode_frames(frames[:, ::-1, :, ::-1].copy()),
    )


def test_no_rows_in_no_rows_out(embedder):
    assert embedder.encode_frames(bundles.pictures(0)).shape == (0, WIDTH)
    assert embedder.embed_texts([]).shape == (0, DIM)
    assert embedder.embed_steps(ACTION, np.zeros((0, 4, CHANNELS), np.float32)).shape == (0, DIM)
    nothing = np.zeros((0, 1, 2, WIDTH), np.float32)
    assert embedder.embed_frames(nothing).shape == (0, DIM)


def test_a_row_of_one_moment_needs_no_times(embedder):
    vectors = embedder.encode_frames(bundles.pictures(2))[None, None]
    rows = embedder.embed_frames(vectors)
    np.testing.assert_array_equal(
        rows, embedder.embed_frames(vectors, None, np.zeros((1, 1), np.float32))
    )
    with pytest.raises(InputError, match="'vision': got times of none"):
        embedder.embed_frames(np.concatenate([vectors, vectors], axis=1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_readings_that_are_not_finite_are_refused_where_they_are_valid(embedder, bad):
    values, time_s = trajectory()
    values = values.astype(np.float64)
    values[1, 4, 2] = bad
    with pytest.raises(
        InputError, match=r"'action': row 1, step 4 holds NaN.*mark it as not valid"
    ):
        embedder.embed_steps(ACTION, values, None, time_s)
    valid = np.ones(values.shape[:2], bool)
    valid[1, 4] = False
    rows = embedder.embed_steps(ACTION, values, valid, time_s)
    values[1, 4] = 0
    np.testing.assert_array_equal(rows, embedder.embed_steps(ACTION, values, valid, time_s))
    vectors = np.zeros((1, 1, 2, WIDTH))
    vectors[0, 0, 1, 3] = bad
    with pytest.raises(InputError, match="'vision': row 0, step 0 holds NaN"):
        embedder.embed_frames(vectors)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_times_that_are_not_finite_are_refused(embedder, bad):
    values, time_s = trajectory()
    time_s[0, 2] = bad
    with pytest.raises(InputError, match="'action': got a time that is not finite"):
        embedder.embed_steps(ACTION, values, None, time_s)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((1, 4, 4), "f"), r"'action'.*shape \(1, 4, 4\); wanted .*\(batch, time, 3\)"),
        (np.zeros((4, 3), "f"), r"'action': got steps of type float32 and shape \(4, 3\)"),
        (np.zeros((1, 0, 3), "f"), "with at least one step"),
        (np.zeros((1, 4, 3), int), "'action': got steps of type int64"),
        (np.zeros((1, 4, 3), object), "'action': got steps of type object"),
    ],
)
def test_steps_of_another_shape_or_type_are_refused(embedder, given, message):
    with pytest.raises(InputError, match=message):
        embedder.embed_steps(ACTION, given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((1, PX, PX, 3), "f"), "'vision': got pictures of type float32"),
        (np.zeros((PX, PX, 3), "u1"), rf"wanted uint8 RGB of shape \(picture, {PX}, {PX}, 3\)"),
        (np.zeros((1, 3, PX, PX), "u1"), "resize each with"),
        (np.zeros((1, 480, 640, 3), "u1"), r"shape \(1, 480, 640, 3\)"),
    ],
)
def test_pictures_of_another_shape_or_type_are_refused(embedder, given, message):
    with pytest.raises(InputError, match=message):
        embedder.encode_frames(given)


def test_other_arrays_of_another_shape_or_type_are_refused(embedder):
    values, time_s = trajectory()
    with pytest.raises(InputError, match="'action': got validity of type int64"):
        embedder.embed_steps(ACTION, values, np.ones((2, 6), int))
    with pytest.raises(InputError, match=r"validity of type bool and shape \(2, 5\); wanted .*6"):
        embedder.embed_steps(ACTION, values, np.ones((2, 5), bool))
    with pytest.raises(InputError, match=r"'action': got times of type float32 and shape \(1, 6\)"):
        embedder.embed_steps(ACTION, values, None, time_s[:1])
    with pytest.raises(InputError, match=r"'vision': got vectors of .* \(1, 1, 1, 6\); wanted"):
        embedder.embed_frames(np.zeros((1, 1, 1, WIDTH), "f"))
    with pytest.raises(InputError, match=r"'grip': got ids of type float64"):
        embedder.embed_steps(GRIP, np.zeros((1, 3)))
    with pytest.raises(InputError, match=r"'grip': got ids in \[0, 4\]; wanted \[0, 4\)"):
        embedder.embed_steps(GRIP, np.array([[0, 4]]))


@pytest.mark.parametrize("modality", [STATE, VISION, TEXT, Modality("actoin")])
def test_steps_of_another_modality_are_refused(embedder, modality):
    with pytest.raises(InputError, match=f"no modality '{modality}' of steps"):
        embedder.embed_steps(modality, trajectory()[0])


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_a_blank_text_is_refused(embedder, text):
    with pytest.raises(InputError, match=r"'text': text 1 is .*; wanted an instruction in words"):
        embedder.embed_texts(["push", text])


@pytest.mark.parametrize("text", ["___", "本", "\u200b"])
def test_a_text_of_which_nothing_is_known_is_refused(embedder, text):
    with pytest.raises(
        InputError, match=r"'text': text 0, .*holds nothing that the model can read"
    ):
        embedder.embed_texts([text])


def test_what_is_no_text_is_refused(embedder):
    with pytest.raises(InputError, match="got one string; wanted a list"):
        embedder.embed_texts("push the cube")
    with pytest.raises(InputError, match="text 0 is None"):
        check_texts([None])


# --- comparing ------------------------------------------------------------------------------------


def test_similarity_goes_through_the_gate_of_the_pair(embedder):
    batch = bundles.batch()
    vision, text = embedder.embed(VISION, batch)[0], embedder.embed(TEXT, batch)
    gate = GATES[frozenset((VISION, TEXT))]
    np.testing.assert_array_equal(embedder.pair_gate(TEXT, VISION), gate)
    expected = gated_rows(text, gate) @ gated_rows(vision[None], gate)[0]
    found = embedder.similarity(VISION, vision, TEXT, text)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[2] == 0
    assert np.abs(found - text @ vision).max() > 1e-3


def test_fused_queries_of_a_target_share_a_gate_and_others_are_not_compared(embedder):
    gate = GATES[frozenset((FUSED, ACTION))]
    np.testing.assert_array_equal(embedder.pair_gate(FUSED, ACTION), gate)
    assert embedder.pair_gate(VISION, GRIP) is None
    for pair in ((FUSED, GRIP), (FUSED, FUSED), (VISION, VISION), (VISION, FUSED)):
        with pytest.raises(InputError, match=r"are not compared.*one of action"):
            embedder.pair_gate(*pair)
    with pytest.raises(InputError, match="no modality 'state'"):
        embedder.pair_gate(VISION, STATE)


def test_rows_that_cannot_be_compared_are_refused(embedder):
    row, rows = np.ones(DIM, np.float32), np.ones((2, DIM), np.float32)
    with pytest.raises(InputError, match=rf"'text': got rows of shape \(2, 4\).* width {DIM}"):
        embedder.similarity(VISION, row, TEXT, rows[:, 1:])
    with pytest.raises(InputError, match=r"'vision': got rows.*neither NaN"):
        embedder.similarity(VISION, row * np.nan, TEXT, rows)


# --- loading --------------------------------------------------------------------------------------


def test_threads_get_the_same_rows(embedder):
    batch = bundles.batch()
    values, _ = trajectory()
    frames = bundles.pictures(4)

    def work(number):
        return (
            embedder.embed(FUSED, batch),
            embedder.embed_texts([f"push the {number % 3} cube"]),
            embedder.embed_steps(ACTION, values[:, : 1 + number % 5]),
            embedder.encode_frames(frames[: 1 + number % 4]),
        )

    expected = [work(number) for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        for first, second in zip(pool.map(work, range(60)), expected, strict=True):
            for mine, theirs in zip(first, second, strict=True):
                np.testing.assert_array_equal(mine, theirs)


def test_a_row_is_the_callers_own(embedder):
    first = embedder.embed_texts(["push"])
    kept = first.copy()
    second = embedder.embed_texts(["pull"])
    np.testing.assert_array_equal(first, kept)
    second[:] = 0
    np.testing.assert_array_equal(embedder.embed_texts(["push"]), kept)


def test_an_engine_that_computes_other_rows_is_noticed_at_load(folder, monkeypatch):
    right = Towers.rows

    def wrong(self, modality, feeds):
        rows = right(self, modality, feeds)
        return np.roll(rows, 1, axis=1) if modality == TEXT else rows

    monkeypatch.setattr(Towers, "rows", wrong)
    with pytest.raises(BundleError, match=r"self-test of 'text' is .* from the row of the export"):
        BundleEmbedder.load(folder)


@pytest.mark.parametrize(("precision", "off", "fits"), [
    ("fp32", 5e-4, True), ("fp32", 5e-3, False), ("int8", 0.05, True), ("int8", 0.2, False),
])  # fmt: skip
def test_the_self_test_is_as_strict_as_the_precision_allows(
    tmp_path, monkeypatch, precision, off, fits
):
    made = bundles.make_bundle(
        tmp_path / "bundle", names=["text"], precision=precision, fused_queries=None
    )
    right = Towers.embed

    def turned(self, modality, batch):
        rows = right(self, modality, batch)
        rows[:, 0] += off
        return rows

    monkeypatch.setattr(Towers, "embed", turned)
    if fits:
        BundleEmbedder.load(made)
    else:
        with pytest.raises(BundleError, match=r"self-test of 'text'.*choose another engine"):
            BundleEmbedder.load(made)


def broken_graph(tmp_path, name, *, replace):
    """Writes a bundle, then puts a graph in it that returns something else, hashes included."""
    monkey = bundles.BODIES | {name: bundles.BODIES[name].replace(*replace)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "BODIES", monkey)
        return bundles.make_bundle(tmp_path / "bundle", names=[name], fused_queries=None)


def test_a_graph_that_returns_no_unit_rows_is_refused(tmp_path):
    with pytest.raises(BundleError, match="graph 'text': returned a row of length"):
        broken_graph(tmp_path, "text", replace=("Div(total, safe)", "Add(total, safe)"))
    with pytest.raises(BundleError, match="graph 'text': returned a row of length nan"):
        broken_graph(tmp_path, "text", replace=("Div(total, safe)", "Sqrt(total)"))


def test_a_bundle_whose_graphs_do_not_fit_together_is_refused(tmp_path):
    def wrong(names, message, *, made=None):
        with pytest.raises(BundleError, match=message):
            bundles.make_bundle(tmp_path / "bundle", names=names, fused_queries=None)

    wrong(["vision"], "'vision' needs the graph 'vision_frame', which is missing")
    wrong(["text", "fusion_vision+text"], r"'vision\+text' needs the graph 'vision'")
    wrong([], "has no graph that embeds anything")
    with staged_bundle(tmp_path / "odd") as aside:
        text, action = (bundles.write_graph(aside, each) for each in ("text", "action"))
        odd = [text.__class__(**{**text.__dict__, "inputs": action.outputs})]
        with pytest.raises(BundleError, match="takes 'action_embedding', which nothing gives it"):
            write_bundle(
                aside, graphs=odd, preprocessor=bundles.preprocessor(), model_id="0", card=""
            )
        write_bundle(
            aside, graphs=[text], preprocessor=bundles.preprocessor(), model_id="0", card=""
        )


def test_a_bundle_without_a_modality_refuses_it(tmp_path):
    made = bundles.make_bundle(tmp_path / "bundle", names=["action"], fused_queries=None)
    embedder = BundleEmbedder.load(made)
    for call in (
        lambda: embedder.encode_frames(bundles.pictures(1)),
        lambda: embedder.embed_frames(np.zeros((1, 1, 2, WIDTH), "f")),
        lambda: embedder.embed_texts(["push"]),
        lambda: embedder.embed_steps(GRIP, np.array([[1]])),
    ):
        with pytest.raises(InputError, match="bundle: no modality"):
            call()


def test_a_changed_byte_is_noticed_at_load(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "bundle")
    path = copy / "graphs" / "text.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"text\.onnx: was changed"):
        BundleEmbedder.load(copy)


@pytest.mark.slow
def test_importing_and_loading_need_neither_torch_nor_anything_heavy(folder):
    script = (
        "import json, sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY}))\n"  # None refuses the import
        "import numpy as np\n"
        "import jointspace.deploy.matching, jointspace.deploy.stream\n"
        "from jointspace.deploy.runtime import BundleEmbedder\n"
        "early = 'onnxruntime' in sys.modules\n"
        "embedder = BundleEmbedder.load(sys.argv[1])\n"
        "stream = jointspace.deploy.stream.VisionStream(embedder)\n"
        f"stream.add('front', np.zeros(({PX}, {PX}, 3), np.uint8), 0.0)\n"
        "row = stream.embedding(0.0).row\n"
        "loaded = [name for name, module in sys.modules.items() if module]\n"
        "top = sorted({name.partition('.')[0] for name in loaded} - sys.stdlib_module_names)\n"
        "print(json.dumps([early, len(row), top]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], check=True, capture_output=True, text=True
    )
    early, width, loaded = json.loads(done.stdout)
    assert not early
    assert width == DIM
    packages = {name for name in loaded if not name.startswith(("_", "cython"))}
    assert packages <= {"jaxtyping", "jointspace", "numpy", "onnxruntime", "wadler_lindig"}


def test_a_fused_query_that_was_left_out_says_why_and_what_to_do(tmp_path):
    names = [name for name in bundles.BODIES if not name.startswith("fusion_")]
    why = "the run did not train fused queries; train them and export again"
    folder = bundles.make_bundle(
        tmp_path / "bundle", names=names, fused_queries=None, left_out={bundles.FUSED: why}
    )
    embedder = BundleEmbedder.load(folder)
    assert bundles.FUSED not in embedder.modalities
    for ask in (
        lambda: embedder.embed(bundles.FUSED, bundles.batch()),
        lambda: embedder.pair_gate(bundles.FUSED, ACTION),
    ):
        with pytest.raises(InputError, match=f"has no 'vision\\+text', because {why}"):
            ask()


def test_graphs_of_one_bundle_run_on_the_engine_that_each_prefers(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    opened = {}
    original = towers.open_session

    def noted(folder, graph, *, engine, **settings):
        opened[graph.name] = engine
        return original(folder, graph, engine=engine, **settings)

    folder = bundles.make_bundle(tmp_path / "bundle", engines={"vision_frame": "openvino"})
    monkeypatch.setattr(towers, "open_session", noted)
    embedder = BundleEmbedder.load(folder)
    assert opened.pop("vision_frame") == "openvino"
    assert set(opened.values()) == {"onnxruntime"}
    plain = BundleEmbedder.load(folder, engine="onnxruntime")
    given = bundles.batch()
    np.testing.assert_allclose(embedder.embed(VISION, given), plain.embed(VISION, given), atol=1e-5)
