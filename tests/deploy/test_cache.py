import copy
import dataclasses
import functools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Batch, Modality, ModalityInput, RowIds
from jointspace.deploy.cache import CacheStatistics, EmbeddingCache
from jointspace.deploy.cache_embedder import CachedEmbedder
from jointspace.deploy.cache_keys import content_keys
from jointspace.embedder import Embedder
from jointspace.errors import InputError

DIM = 8
FUSED = Modality("vision+text")


@functools.cache
def weights_of(member, step, count):
    return np.random.default_rng((member, step)).normal(size=(count, DIM))


class Projection:
    """An embedder that depends on every valid value, its place and its time, and on no other."""

    embed_dim = DIM

    def __init__(self, *modalities, nan_above=np.inf):
        self.modalities = modalities or (VISION, TEXT, ACTION, FUSED)
        self.nan_above = nan_above
        self.calls = []

    def pair_gate(self, first, second):
        return np.full(DIM, 2.0, np.float32) if TEXT in {first, second} else None

    def embed(self, modality, batch):
        self.calls.append(len(batch))
        vectors = np.zeros((len(batch), DIM))
        for number, member in enumerate(modality.split("+")):
            inputs = batch[Modality(member)]
            for row, step in np.ndindex(inputs.valid.shape[:2]):
                real = inputs.valid[row, step]
                values = np.where(
                    real.reshape(real.shape + (1,) * (inputs.values.ndim - inputs.valid.ndim)),
                    inputs.values[row, step].astype(np.float64),
                    0,
                ).ravel()
                weights = weights_of(number, step, len(values) + 1)
                time_s = 0.0 if inputs.time_s is None else inputs.time_s[row, step]
                vectors[row] += real.any() * (np.append(values, time_s + 1) @ weights)
                vectors[row, values.max(initial=0) > self.nan_above] = np.nan
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)


def batch_of(**inputs):
    count = len(next(iter(inputs.values())).values)
    number, zeros = np.arange(count), np.zeros(count)
    rows = RowIds(number, number, number, zeros, zeros + 1)
    return Batch({Modality(name): each for name, each in inputs.items()}, rows)


def words(*sentences, pad=0, dtype=np.int64):
    longest = max(map(len, sentences)) + pad
    ids, valid = (
        np.zeros((len(sentences), longest), dtype),
        np.zeros((len(sentences), longest), bool),
    )
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = sentence
        valid[row, : len(sentence)] = True
    return ModalityInput(ids, valid)


def pictures(*frames):
    values = np.stack(frames)[:, None, None]
    return ModalityInput(values, np.ones(values.shape[:3], bool), np.zeros(values.shape[:2]))


def steps(count=4, *, seed=0):
    values = np.random.default_rng(seed).normal(size=(1, count, 3)).astype(np.float32)
    return ModalityInput(values, np.ones((1, count), bool), np.arange(count)[None] / np.float32(10))


def key(inputs, *, modality=TEXT, version="a"):
    (only,) = content_keys({modality: inputs}, version=version)
    return only


def unit(number):
    return np.eye(DIM, dtype=np.float32)[number % DIM]


def picture():
    return np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)


# --- the textbook's cache -----------------------------------------------------------------------


def test_row_19_a_mirrored_picture_gets_its_own_embedding_and_not_the_others():
    def key_of_the_chapter(array):
        return f"visual_{hash(array.mean().item())}"

    left, right = picture(), picture()[:, ::-1]
    assert (left != right).any()
    assert key_of_the_chapter(left) == key_of_the_chapter(right)

    embedder = CachedEmbedder(Projection(), version="a")
    first = embedder.embed(VISION, batch_of(vision=pictures(left)))
    second = embedder.embed(VISION, batch_of(vision=pictures(right)))
    expected = Projection().embed(VISION, batch_of(vision=pictures(right)))
    assert abs(float(first[0] @ expected[0])) < 0.99
    np.testing.assert_array_equal(second, expected)


def test_row_19_rows_that_are_not_finite_are_returned_and_never_stored():
    inner = Projection(nan_above=8)
    embedder = CachedEmbedder(inner, version="a")
    for _ in range(3):
        vectors = embedder.embed(TEXT, batch_of(text=words([9], [1])))
        assert np.isnan(vectors[0]).all()
        assert np.isfinite(vectors[1]).all()
    assert inner.calls == [2, 1, 1]
    assert len(embedder.cache) == 1
    assert embedder.cache.statistics.rejected == 3


@pytest.mark.parametrize("modality", ["visual", "txet", "vision+visual"])
def test_row_05_an_unknown_modality_is_refused_by_its_name(modality):
    embedder = CachedEmbedder(Projection(), version="a")
    with pytest.raises(InputError, match=r"cached embedder: no modality '(visual|txet)'"):
        embedder.embed(Modality(modality), batch_of(text=words([1])))
    with pytest.raises(InputError, match=r"cached embedder: no modality '(visual|txet)'"):
        CachedEmbedder(Projection(), version="a", cached=[Modality(modality)])


def test_row_05_any_embedder_can_be_wrapped_even_a_wrapped_one():
    made = batch_of(force=steps())
    force = Modality("force")
    inner = Projection(force)
    once = CachedEmbedder(inner, version="a")
    twice: Embedder = CachedEmbedder(once, version="a")
    assert isinstance(twice, Embedder)
    assert twice.pair_gate(VISION, ACTION) is None
    assert twice.pair_gate(TEXT, ACTION).tolist() == [2.0] * DIM
    assert twice.embed_dim == DIM
    assert twice.modalities == (force,)
    np.testing.assert_array_equal(twice.embed(force, made), Projection(force).embed(force, made))
    assert twice.embed(force, made).dtype == np.float32
    assert inner.calls == [1]


# --- the embedder -------------------------------------------------------------------------------


def test_only_the_missing_rows_are_computed_in_one_call_and_each_once():
    inner = Projection()
    embedder = CachedEmbedder(inner, version="a")
    embedder.embed(TEXT, batch_of(text=words([1, 2], [3])))
    made = batch_of(text=words([4], [3], [5, 6, 7], [4], [1, 2], [4]))
    vectors = embedder.embed(TEXT, made)
    np.testing.assert_array_equal(vectors, Projection().embed(TEXT, made))
    assert inner.calls == [2, 2]
    assert embedder.cache.statistics == CacheStatistics(
        hits=2, misses=4, stored=4, entries=4, bytes=4 * (DIM * 4 + 16)
    )
    assert embedder.cache.statistics.hit_rate == pytest.approx(1 / 3)


def test_a_fused_query_depends_on_every_member_and_is_none_of_them():
    inner = Projection()
    embedder = CachedEmbedder(inner, version="a")
    mirrored = picture()[:, ::-1]
    for frame, sentence in [(picture(), [1]), (mirrored, [1]), (picture(), [2])]:
        made = batch_of(vision=pictures(frame), text=words(sentence))
        for modality in (FUSED, VISION, TEXT, Modality("text+text")):
            np.testing.assert_array_equal(
                embedder.embed(modality, made), Projection().embed(modality, made)
            )
    assert len(inner.calls) == 3 + 2 + 2 + 2


def test_what_a_caller_does_to_its_rows_is_not_seen_by_the_next():
    embedder = CachedEmbedder(Projection(), version="a")
    made = batch_of(text=words([1], [1]))
    for _ in range(3):
        vectors = embedder.embed(TEXT, made)
        np.testing.assert_array_equal(vectors, Projection().embed(TEXT, made))
        vectors[0] = 7


def test_two_versions_share_a_cache_without_sharing_rows():
    cache = EmbeddingCache()
    old, new = Projection(), Projection()
    made = batch_of(text=words([1]))
    for inner, version in [(old, "a"), (new, "b"), (old, "a"), (new, "b")]:
        CachedEmbedder(inner, version=version, cache=cache).embed(TEXT, made)
    assert old.calls == new.calls == [1]
    with pytest.raises(InputError, match="version is empty"):
        CachedEmbedder(old, version="")


def test_modalities_that_are_not_worth_keeping_go_straight_to_the_embedder():
    inner = Projection()
    embedder = CachedEmbedder(inner, version="a", cached=[TEXT])
    made = batch_of(vision=pictures(picture(), picture()), text=words([1], [2]))
    for _ in range(2):
        embedder.embed(VISION, made)
        embedder.embed(TEXT, made)
    assert inner.calls == [2, 2, 2]
    assert len(embedder.cache) == 2


def test_rows_that_lack_the_modality_are_zero_and_a_batch_without_rows_needs_no_call():
    inner = Projection()
    embedder = CachedEmbedder(inner, version="a")
    vectors = embedder.embed(TEXT, batch_of(text=words([], [1], [])))
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()
    nothing = batch_of(text=words([1]).map(lambda array: array[:0]))
    assert embedder.embed(TEXT, nothing).shape == (0, DIM)
    assert inner.calls == [2]


def test_a_batch_without_the_modality_and_a_wrong_answer_are_refused():
    with pytest.raises(InputError, match="batch: no modality 'vision'"):
        CachedEmbedder(Projection(), version="a").embed(VISION, batch_of(text=words([1])))
    broken = Projection()
    broken.embed = lambda modality, batch: np.zeros((1, DIM - 1), np.float32)
    with pytest.raises(InputError, match=r"returned shape \(1, 7\) for 'text'; wanted \(1, 8\)"):
        CachedEmbedder(broken, version="a").embed(TEXT, batch_of(text=words([1])))


# --- the keys -----------------------------------------------------------------------------------


def test_padding_and_what_is_masked_change_no_key():
    (padded,) = {key(words([1, 2], pad=pad)) for pad in (0, 1, 5)}
    dirty = words([1, 2], pad=2)
    dirty.values[0, 3] = 9
    assert key(dirty) == padded

    gap = steps()
    gap.valid[0, 1] = False
    hidden = gap.map(np.copy)
    hidden.values[0, 1] = np.nan
    hidden.time_s[0, 1] = 9
    assert key(gap) == key(hidden)


def test_a_gap_a_cameras_absence_and_an_early_padding_are_content():
    gap = steps()
    gap.valid[0, 1] = False
    shorter = gap.map(lambda array: array[:, [0, 2, 3]])
    late = words([0, 1, 2])
    late.valid[0, 0] = False
    assert len({key(each) for each in (steps(), gap, shorter)}) == 3
    assert key(late) != key(words([1, 2]))

    two = np.zeros((1, 1, 2, 4, 4, 3), np.uint8)
    views = [ModalityInput(two, np.array([[on]])) for on in ([True, False], [False, True])]
    assert key(views[0]) != key(views[1])


def test_what_two_robots_show_alike_has_two_keys_and_what_they_are_told_has_one():
    motion, told = (
        ModalityInput(np.ones((1, 2, 3), np.float32), np.ones((1, 2), bool), np.zeros((1, 2))),
        words((1, 2)),
    )
    for modality, first, are_equal in ((ACTION, motion, False), (TEXT, told, True)):
        second = dataclasses.replace(first, embodiment=1)
        keys = [content_keys({modality: each}, version="v") for each in (first, second)]
        assert (keys[0] == keys[1]) == are_equal


def test_every_part_of_a_row_changes_its_key():
    made = steps()
    value, time, order = (made.map(np.copy) for _ in range(3))
    value.values[0, 3, 2] = np.nextafter(value.values[0, 3, 2], np.float32(9))
    time.time_s[0, 3] += np.float32(0.1)
    order.values[0] = order.values[0, ::-1]
    flat = dataclasses.replace(made, values=made.values.reshape(1, 4, 3, 1))
    typed = dataclasses.replace(made, values=made.values.view(np.int32))
    timeless = dataclasses.replace(made, time_s=None)
    keys = {key(each) for each in (made, value, time, order, flat, typed, timeless)}
    keys |= {key(made, modality=ACTION), key(made, version="b")}
    keys.add(content_keys({TEXT: made, ACTION: made}, version="a")[0])
    assert len(keys) == 10
    assert key(made) == key(made.map(lambda array: np.asfortranarray(array.copy())))


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (
            "valid",
            lambda array: array[:, :2],
            r"validity of 'text' has shape \(1, 2\) .* \(1, 4, 3\)",
        ),
        ("valid", lambda array: array.astype(np.int8), "type int8; wanted .* booleans"),
        (
            "time_s",
            lambda array: array[:, :2],
            r"times of 'text' have shape \(1, 2\); wanted \(1, 4",
        ),
        ("values", lambda array: array.astype(object), "'text' holds Python objects"),
    ],
)
def test_inputs_that_do_not_fit_together_are_refused(part, change, message):
    made = copy.copy(steps())
    object.__setattr__(made, part, change(getattr(made, part)))  # past the checks of the tests
    with pytest.raises(InputError, match=message):
        key(made)


# --- the cache ----------------------------------------------------------------------------------


def test_what_was_used_least_recently_goes_first():
    cache = EmbeddingCache(max_entries=2)
    cache.put(b"a", unit(0))
    cache.put(b"b", unit(1))
    assert cache.get(b"a") is not None
    cache.put(b"c", unit(2))
    assert [name in cache for name in (b"a", b"b", b"c")] == [True, False, True]
    cache.put(b"a", unit(3))
    cache.put(b"d", unit(4))
    assert [name in cache for name in (b"a", b"c", b"d")] == [True, False, True]
    np.testing.assert_array_equal(cache.get(b"a"), unit(3))
    assert cache.statistics.evicted == 2


def test_it_holds_what_a_plain_list_of_uses_would_hold():
    cache = EmbeddingCache(max_entries=5, max_bytes=200)
    uses = []  # (key, vector), least recently used first
    rng = np.random.default_rng(0)
    for _ in range(500):
        name = bytes([int(rng.integers(12))])
        held = dict(uses)
        if rng.random() < 0.5:
            got = cache.get(name)
            assert (got is None) == (name not in held)
            if got is not None:
                np.testing.assert_array_equal(got, held[name])
                uses = [use for use in uses if use[0] != name] + [(name, held[name])]
        else:
            vector = rng.normal(size=int(rng.integers(1, 30))).astype(np.float32)
            cache.put(name, vector)
            uses = [use for use in uses if use[0] != name] + [(name, vector)]
            while len(uses) > 5 or sum(1 + each.nbytes for _, each in uses) > 200:
                del uses[0]
        assert cache.statistics.bytes == sum(1 + each.nbytes for _, each in uses)
        assert len(cache) == len(uses)
    assert cache.statistics.evicted > 50


def test_the_limit_of_bytes_holds_and_a_vector_too_large_empties_nothing():
    size = DIM * 4 + 1
    cache = EmbeddingCache(max_bytes=2 * size)
    for number in range(3):
        assert cache.put(bytes([number]), unit(number))
    assert cache.statistics == CacheStatistics(stored=3, evicted=1, entries=2, bytes=2 * size)
    assert not cache.put(b"x", np.zeros(2 * DIM + 1, np.float32))
    assert cache.statistics.entries == 2
    cache.clear()
    assert (len(cache), cache.statistics.bytes, cache.statistics.stored) == (0, 0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_changes_nothing(value):
    cache = EmbeddingCache()
    cache.put(b"a", unit(0))
    for name in (b"a", b"b"):
        assert not cache.put(name, np.float32([1, value]))
    np.testing.assert_array_equal(cache.get(b"a"), unit(0))
    assert b"b" not in cache
    assert cache.statistics.rejected == 2


def test_what_goes_in_and_what_comes_out_are_copies():
    cache, vector = EmbeddingCache(), unit(0).copy()
    cache.put(b"a", vector)
    vector[:] = 7
    cache.get(b"a")[:] = 7
    np.testing.assert_array_equal(cache.get(b"a"), unit(0))


def test_views_share_memory_and_cannot_be_written():
    cache = EmbeddingCache(copies=False)
    cache.put(b"a", unit(0))
    view = cache.get(b"a")
    assert np.shares_memory(view, cache.get(b"a"))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 7
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True


@pytest.mark.parametrize("limit", ["max_entries", "max_bytes"])
def test_a_cache_that_can_hold_nothing_is_refused(limit):
    with pytest.raises(InputError, match=f"cache: {limit} is 0; wanted at least 1"):
        EmbeddingCache(**{limit: 0})


@pytest.fixture
def impatient_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield 8
    sys.setswitchinterval(interval)


def test_threads_leave_exact_counts_and_no_more_than_the_limits(impatient_threads):
    lookups, size = 1000, DIM * 4 + 1
    cache = EmbeddingCache(max_entries=4, max_bytes=3 * size)
    start = threading.Barrier(impatient_threads)

    def hammer(seed):
        start.wait()
        for number in np.random.default_rng(seed).integers(8, size=lookups).tolist():
            vector = cache.get(bytes([number]))
            if vector is None:
                cache.put(bytes([number]), unit(number))
            else:
                np.testing.assert_array_equal(vector, unit(number))

    with ThreadPoolExecutor(impatient_threads) as pool:
        list(pool.map(hammer, range(impatient_threads)))
    counts = cache.statistics
    assert counts.hits + counts.misses == impatient_threads * lookups
    assert counts.stored == counts.misses
    assert (counts.entries, counts.bytes) == (3, 3 * size)


def test_threads_that_share_an_embedder_get_their_own_rows(impatient_threads):
    sentences = [[n, n + 1] for n in range(12)]
    expected = Projection().embed(TEXT, batch_of(text=words(*sentences)))
    embedder = CachedEmbedder(Projection(), version="a", cache=EmbeddingCache(max_entries=5))
    start = threading.Barrier(impatient_threads)

    def hammer(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(10):
            chosen = rng.choice(12, size=3, replace=False)
            made = batch_of(text=words(*(sentences[n] for n in chosen)))
            np.testing.assert_array_equal(embedder.embed(TEXT, made), expected[chosen])

    with ThreadPoolExecutor(impatient_threads) as pool:
        list(pool.map(hammer, range(impatient_threads)))
    assert len(embedder.cache) == 5
