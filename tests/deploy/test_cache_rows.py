import subprocess
import sys

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION
from jointspace.config import DataConfig, TextConfig
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.data.tokenizer import HubTokenizer, Tokenizer
from jointspace.deploy.cache import EmbeddingCache
from jointspace.deploy.cache_embedder import CachedEmbedder
from jointspace.deploy.cache_file import EmbeddingFile
from jointspace.deploy.cache_fill import Filled, fill_rows, fill_samples
from jointspace.deploy.cache_keys import array_key, text_key
from jointspace.deploy.cache_rows import cached_pictures, cached_texts
from jointspace.errors import InputError
from tests.factories import write_lerobot

DIM = 4
TOKENIZER = Tokenizer.fit(["pick up the red cube"], max_tokens=16)


class Texts:
    """Rows that depend on the token ids of a text and on nothing else."""

    def __init__(self, *, broken=()):
        self.asked = []
        self.broken = broken

    def __call__(self, texts):
        self.asked.append(list(texts))
        return np.stack([self.row(text) for text in texts])

    def row(self, text):
        ids, _ = TOKENIZER.encode([text])
        row = np.random.default_rng(ids[0]).normal(size=DIM).astype(np.float32)
        return np.full(DIM, np.nan, np.float32) if text in self.broken else row


def cached(texts, *, version="a", cache=None):
    return cached_texts(texts, version=version, normalise=TOKENIZER.normalise, dim=DIM, cache=cache)


def test_spellings_of_one_instruction_are_embedded_once_before_any_is_tokenised():
    texts = Texts()
    rows = cached(texts)
    spellings = [
        "Pick up  the red cube",
        "pick up the red cube ",
        "\uff30\uff29\uff23\uff2b up the red\ncube",
    ]
    for spelling in spellings:
        np.testing.assert_array_equal(rows.row(spelling), texts.row(spelling))
    np.testing.assert_array_equal(rows.rows(spellings), np.stack([texts.row(s) for s in spellings]))
    assert texts.asked == [spellings[:1]]


def test_only_the_missing_items_are_computed_in_one_call_and_each_once():
    texts = Texts()
    rows = cached(texts)
    rows.row("red")
    items = ["cube", "red", "up", "cube", "Up"]
    np.testing.assert_array_equal(rows.rows(items), np.stack([texts.row(item) for item in items]))
    assert texts.asked == [["red"], ["cube", "up"]]
    assert rows.rows([]).shape == (0, DIM)


def test_rows_that_are_not_finite_are_returned_and_never_stored():
    texts = Texts(broken=("cube",))
    rows = cached(texts)
    for _ in range(2):
        assert np.isnan(rows.row("cube")).all()
        assert np.isnan(rows.rows(["cube", "red"])[0]).all()
    assert texts.asked == [["cube"], ["cube", "red"], ["cube"], ["cube"]]


def test_versions_share_a_cache_without_sharing_rows():
    cache, old, new = EmbeddingCache(), Texts(), Texts()
    for texts, version in ((old, "a"), (new, "b"), (old, "a")):
        cached(texts, version=version, cache=cache).row("cube")
    assert old.asked == new.asked == [["cube"]]
    with pytest.raises(InputError, match="version is empty"):
        cached(old, version="")


def test_a_function_that_owes_rows_is_named():
    rows = cached_texts(lambda _: np.zeros((1, 3), np.float32), version="a", normalise=str, dim=DIM)
    with pytest.raises(InputError, match=r"1 items gave shape \(1, 3\); wanted \(1, 4\)"):
        rows.row("cube")


def test_equal_pictures_are_encoded_once_and_a_mirrored_one_is_another():
    asked = []

    def encode(pictures):
        asked.append(len(pictures))
        return pictures[:, 0, :DIM, 0].astype(np.float32)

    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    mirrored = picture[:, ::-1]
    rows = cached_pictures(encode, version="a", width=DIM)
    for each in (picture, mirrored, picture.copy(), mirrored.copy()):
        np.testing.assert_array_equal(rows.row(each), encode(each[None])[0])
    np.testing.assert_array_equal(rows.rows([mirrored, picture])[1], encode(picture[None])[0])
    assert rows.cache.statistics.misses == 2


# --- keys ---------------------------------------------------------------------------------------


def test_every_part_of_an_array_is_in_its_key_and_not_a_number_is_content():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    array[0, 0] = np.nan
    named = {"modality": ACTION, "version": "a"}
    changed = array.copy()
    changed[0, 0] = np.inf
    keys = {
        array_key(array, **named),
        array_key(changed, **named),
        array_key(array.reshape(4, 3), **named),
        array_key(array.view(np.int32), **named),
        array_key(array, modality=VISION, version="a"),
        array_key(array, modality=ACTION, version="b"),
    }
    assert len(keys) == 6
    assert array_key(np.asfortranarray(array), **named) == array_key(array, **named)
    with pytest.raises(InputError, match="holds Python objects"):
        array_key(array.astype(object), **named)


def test_no_text_and_version_spell_the_key_of_another_pair():
    pairs = [("b", "a"), ("", "ab"), ("ab", ""), ("1 a", "2"), ("a", "21 "), ("\ud800", "a")]
    assert len({text_key(text, version=version) for text, version in pairs}) == len(pairs)
    assert {len(text_key(text, version=version)) for text, version in pairs} == {16}


def test_a_normalised_text_has_the_ids_of_the_text_and_others_have_others():
    for text in ("Pick\tUP the ﬁnal  cube!", "  ", "naïve_cube", "CUBE\u2003red", "İ"):
        normal = TOKENIZER.normalise(text)
        assert TOKENIZER.normalise(normal) == normal
        np.testing.assert_array_equal(TOKENIZER.encode([normal])[0], TOKENIZER.encode([text])[0])
    assert TOKENIZER.normalise("red cube") != TOKENIZER.normalise("redcube")


def test_a_definition_from_the_hub_is_not_second_guessed():
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"Cube": 1, "cube": 2}, "[UNK]")
    tokenizer = HubTokenizer(tokenizers.Tokenizer(model).to_str(), max_tokens=8)
    assert tokenizer.encode(["Cube"])[0] != tokenizer.encode(["cube"])[0]
    assert tokenizer.normalise("Cube") != tokenizer.normalise("cube")


def test_without_the_package_the_extra_is_named():
    program = (
        "import sys\nsys.modules['xxhash'] = None\n"
        "try:\n    import jointspace.deploy.cache\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == (
        "this feature needs the package 'xxhash': pip install 'jointspace[deploy]'"
    )


# --- ahead of time ------------------------------------------------------------------------------


def test_a_list_is_computed_once_and_is_there_for_the_next_process(tmp_path):
    texts, steps = Texts(), []
    names = [f"cube {number}" for number in range(10)] + ["CUBE 3"]
    with EmbeddingFile(tmp_path, version="a", dim=DIM) as file:
        rows = cached(texts, cache=EmbeddingCache(max_entries=2, file=file))
        assert fill_rows(rows, names[:4], batch_size=4) == Filled(4, 4)
        done = fill_rows(rows, names, batch_size=4, progress=lambda *counts: steps.append(counts))
    assert done == Filled(11, 6)
    assert steps == [(4, 11), (8, 11), (11, 11)]
    later = Texts()
    file = EmbeddingFile(tmp_path, version="a", dim=DIM, writable=False)
    found = cached(later, cache=EmbeddingCache(file=file)).rows(names)
    np.testing.assert_array_equal(found, np.stack([texts.row(name) for name in names]))
    assert later.asked == []


def test_a_list_that_the_cache_cannot_hold_is_refused_before_any_work(tmp_path):
    texts = Texts()
    rows = cached(texts, cache=EmbeddingCache(max_entries=2))
    with pytest.raises(InputError, match="3 rows to compute, and room for 2"):
        fill_rows(rows, ["a", "b", "c"])
    assert texts.asked == []


def sample_set(folder):
    dataset = open_dataset(write_lerobot(folder, num_episodes=4, cameras=()).path)
    preprocessor = Preprocessor.fit(
        dataset, train=range(4), config=DataConfig(window_s=0.5), text=TextConfig()
    )
    return SampleSet.of_windows(dataset, None, preprocessor, episodes=range(4))


def test_a_data_set_is_computed_once_per_modality(tmp_path):
    samples = sample_set(tmp_path / "data")

    class Ones:
        embed_dim, modalities, asked = DIM, (TEXT, ACTION), 0

        def pair_gate(self, first, second):
            return None

        def embed(self, modality, batch):
            Ones.asked += len(batch)
            return np.ones((len(batch), DIM), np.float32)

    with EmbeddingFile(tmp_path, version="a", dim=DIM) as file:
        embedder = CachedEmbedder(Ones(), version="a", cache=EmbeddingCache(file=file))
        first = fill_samples(embedder, samples, modalities=[TEXT, ACTION], batch_size=3)
        assert first == Filled(2 * len(samples.rows), Ones.asked)
        assert len(samples.rows) < Ones.asked < first.asked
        assert fill_samples(embedder, samples, modalities=[TEXT, ACTION]).computed == 0
        assert len(file) == first.computed
