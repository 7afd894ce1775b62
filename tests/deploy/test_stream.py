import threading
from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import VISION
from jointspace.config import DataConfig, TextConfig
from jointspace.data.preprocess import Preprocessor
from jointspace.data.resize import resize_frame
from jointspace.data.samples import SampleSet
from jointspace.data.windows import Window
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stream import VisionStream
from jointspace.errors import InputError
from tests.data.memory_dataset import CAMERAS, FPS, PX, make_dataset, make_episode, make_store
from tests.deploy import bundles

CONFIG = DataConfig(image_px=PX, window_s=1.2, window_frames=5, episode_frames=5)


class Encoder:
    """Encodes a picture as its middle pixel, and remembers the rows that it is asked for."""

    def __init__(self, preprocessor):
        self.preprocessor = preprocessor
        self.encoded = 0
        self.asked = []

    def encode_frames(self, pictures):
        self.encoded += len(pictures)
        middle = pictures.shape[1] // 2
        return pictures[:, middle, middle].astype(np.float32)

    def embed_frames(self, vectors, valid=None, time_s=None):
        self.asked.append((vectors[0], valid[0], time_s[0]))
        return np.ones((1, 1), np.float32)

    def ask(self, stream, now_s):
        stream.embedding(now_s)
        return self.asked[-1]


@pytest.fixture
def parts(tmp_path):
    """Two episodes of 26 steps; the second lacks the wrist camera."""
    episodes = [
        make_episode(3, num_frames=26, cameras=CAMERAS),
        make_episode(4, num_frames=26, cameras=CAMERAS[:1]),
    ]
    dataset = make_dataset(episodes, cameras=CAMERAS)
    made = Preprocessor.fit(dataset, train=[0, 1], config=CONFIG, text=TextConfig())
    return dataset, make_store(dataset, tmp_path), made


def encoder_of(parts, **changes):
    return Encoder(replace(parts[2], **changes))


def picture(value, *, px=PX):
    return np.full((px, px, 3), value, dtype=np.uint8)


def feed(stream, values, *, camera="top", start_s=0.0, rate_hz=FPS):
    for number, value in enumerate(values):
        stream.add(camera, picture(value), start_s + number / rate_hz)


def recorded(parts, position, step):
    """The pictures of one step, of the cameras that there are."""
    dataset, store, _ = parts
    videos = dataset.episodes[position].videos
    return {camera: store.frames(position, camera)[step] for camera in videos}


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("window_frames", [1, 2, 5, 12, 20])
def test_a_stream_shows_what_training_takes_from_the_same_window(parts, position, window_frames):
    dataset, store, _ = parts
    encoder = encoder_of(parts, window_frames=window_frames)
    rows = SampleSet.of_windows(
        dataset, store, encoder.preprocessor, episodes=[position], stride_s=0.3
    )
    trained = rows.batch(range(len(rows)))[VISION]
    # The single picture of a window is the one at its start, before what the robot then does.
    ends = [w.start if window_frames == 1 else w.stop - 1 for w in rows.windows]
    stream, compared = VisionStream(encoder), 0
    for step in range(dataset.episodes[position].num_frames):
        for camera, frame in recorded(parts, position, step).items():
            stream.add(camera, frame, 100 + step / FPS)
        if step not in ends:
            continue
        row = ends.index(step)
        vectors, valid, time_s = encoder.ask(stream, 100 + step / FPS)
        np.testing.assert_array_equal(valid, trained.valid[row])
        np.testing.assert_allclose(time_s, trained.time_s[row], atol=1e-6)
        for place in np.argwhere(valid):
            expected = encoder.encode_frames(trained.values[row][tuple(place)][None])[0]
            np.testing.assert_array_equal(vectors[tuple(place)], expected)
        compared += 1
    assert compared == len(rows) > 3


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("episode_frames", [2, 5, 12])
def test_a_grown_stream_shows_what_an_episode_that_is_so_far_has(parts, position, episode_frames):
    dataset, store, _ = parts
    encoder = encoder_of(parts, episode_frames=episode_frames)
    count = dataset.episodes[position].num_frames
    rows = SampleSet(
        dataset,
        store,
        encoder.preprocessor,
        [Window(position, 0, steps) for steps in range(1, count + 1)],
        clip_frames=episode_frames,
    )
    stream = VisionStream(encoder, longest_s=count / FPS)
    stream.add("top", picture(99), 93.0)  # before the robot was told
    for step in range(count):
        for camera, frame in recorded(parts, position, step).items():
            stream.add(camera, frame, 100 + step / FPS)
        assert stream.grown(100.0).span_s == pytest.approx(step / FPS)
        vectors, valid, time_s = encoder.asked[-1]
        trained = rows.batch([step])[VISION]
        np.testing.assert_array_equal(valid, trained.valid[0])
        np.testing.assert_allclose(time_s, trained.time_s[0], atol=1e-6)
        for place in np.argwhere(valid):
            expected = encoder.encode_frames(trained.values[0][tuple(place)][None])[0]
            np.testing.assert_array_equal(vectors[tuple(place)], expected)


def test_a_grown_stream_has_an_end_and_a_bound(parts):
    encoder = encoder_of(parts, episode_frames=5)
    stream = VisionStream(encoder, longest_s=2.0)
    with pytest.raises(InputError, match="no picture has come yet"):
        stream.grown(0.0)
    for number in range(3000):
        stream.add("top", picture(number % 251), number / 100)
        assert len(stream._times["top"]) <= 4 * 21 + 2
    assert stream.grown(1.0).span_s == pytest.approx(2.0)
    assert stream.grown(29.0).span_s == pytest.approx(0.99, abs=0.06)  # in whole steps
    assert stream.grown(40.0).span_s == 0  # told after the newest picture
    with pytest.raises(InputError, match="since_s is nan"):
        stream.grown(np.nan)
    long = VisionStream(encoder, longest_s=3600.0)
    for number in range(9000):
        long.add("top", picture(0), float(number))
    assert len(long._times["top"]) <= 4096 + 2


def test_a_stream_that_looks_back_very_far_still_shows_every_step(parts):
    encoder = encoder_of(parts, episode_frames=5)
    stream = VisionStream(encoder, longest_s=12_800 / FPS)  # one of about four pictures is kept
    for number in range(1000):
        stream.add("top", picture(number % 251), number / FPS)
        if number > 900:
            assert encoder.ask(stream, number / FPS)[1][:, 0].all()
            stream.grown(0.0)
            assert encoder.asked[-1][1][:, 0].all()


def test_a_camera_three_times_as_fast_gives_the_same_row(parts):
    slow, fast = encoder_of(parts), encoder_of(parts)
    streams = VisionStream(slow), VisionStream(fast)
    for step in range(40):
        for third in range(3):
            shown = picture(step if third == 0 else 200 + third)
            streams[1].add("top", shown, step / FPS + third / (3 * FPS))
        streams[0].add("top", picture(step), step / FPS)
    streams[1].clear()
    for step in range(40):
        for third in (1, 2, 3):  # the last of three falls on the slow camera's time
            value = step if third == 3 else 200 + third
            streams[1].add("top", picture(value), step / FPS + (third - 3) / (3 * FPS))
    for first, second in zip(slow.ask(streams[0], 4.0), fast.ask(streams[1], 4.0), strict=True):
        np.testing.assert_allclose(first, second)


def test_every_picture_is_encoded_once_and_at_the_size_of_the_model(parts):
    encoder = encoder_of(parts)
    stream = VisionStream(encoder)
    wide = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    stream.add("top", wide, 0.0)
    feed(stream, range(30), start_s=0.1)
    for _ in range(5):
        stream.embedding(3.1)
    assert encoder.encoded == 31
    alone = VisionStream(encoder)
    alone.add("top", wide, 0.0)
    vectors, _, _ = encoder.ask(alone, 0.0)
    middle = resize_frame(wide, image_px=PX)[PX // 2, PX // 2]
    np.testing.assert_array_equal(vectors[0, 0], middle)


def test_a_stream_shorter_than_a_window_gives_what_there_is(parts):
    encoder = encoder_of(parts)
    stream = VisionStream(encoder)
    feed(stream, [7, 8, 9], start_s=50.0)
    vectors, valid, time_s = encoder.ask(stream, 50.25)
    assert vectors[:, 0, 0].tolist() == [7, 8, 9]
    assert valid.tolist() == [[True, False]] * 3
    np.testing.assert_allclose(time_s, [0, 0.1, 0.2], atol=1e-6)


def test_a_camera_that_falls_silent_is_masked_from_there_on(parts):
    encoder = encoder_of(parts)
    stream = VisionStream(encoder)
    feed(stream, range(30))
    feed(stream, range(26), camera="wrist")  # until 2.5 s
    _, valid, time_s = encoder.ask(stream, 2.9)
    # Steps at 1.8, 2.1, 2.3 or so, 2.6 and 2.9 s: the last picture serves one step longer.
    assert valid[:, 0].all()
    np.testing.assert_array_equal(valid[:, 1], 1.8 + time_s <= 2.6 + 1e-6)
    assert valid[:, 1].sum() == 4
    feed(stream, range(60), start_s=3.0)
    _, valid, _ = encoder.ask(stream, 8.9)
    assert valid[:, 0].all()
    assert not valid[:, 1].any()


def test_after_a_gap_the_row_starts_anew(parts):
    encoder = encoder_of(parts)
    stream = VisionStream(encoder)
    feed(stream, range(30), camera="wrist")
    feed(stream, range(30))
    feed(stream, [91, 92], start_s=20.0)
    vectors, valid, time_s = encoder.ask(stream, 20.1)
    assert vectors[:, 0, 0].tolist() == [91, 92]
    assert not valid[:, 1].any()
    np.testing.assert_allclose(time_s, [0, 0.1], atol=1e-6)


def test_the_age_is_that_of_the_newest_picture(parts):
    stream = VisionStream(encoder_of(parts))
    feed(stream, [1, 2], start_s=5.0)
    assert stream.embedding(5.35).newest_age_s == pytest.approx(0.25)
    assert stream.embedding(5.095).newest_age_s == 0  # clocks differ a little


def test_memory_is_bounded_at_any_rate_and_the_newest_picture_is_kept(parts):
    encoder = encoder_of(parts)
    stream = VisionStream(encoder)
    for number in range(3000):
        stream.add("top", picture(number % 251), number / 1000)
        held = stream._times["top"]
        assert held[-1] == number / 1000
        assert len(held) == len(stream._vectors["top"]) <= 4 * 12 + 2
    assert min(np.diff(held)[:-1]) >= 1 / (4 * FPS) - 1e-6


@pytest.mark.parametrize(
    ("camera", "shown", "time_s", "message"),
    [
        ("tpo", picture(0), 9.0, "no camera 'tpo'. Did you mean 'top'"),
        ("top", picture(0), 2.9, r"camera 'top': got a picture of 2\.900000 s after one of 2\.900"),
        ("top", picture(0), 2.85, "in order of time"),
        ("top", picture(0), 9.1, "camera 'top': got a picture of 9.1.*in the future"),
        ("top", picture(0), np.nan, "camera 'top': the stamp is nan"),
        ("top", picture(0).astype(float), 9.0, "camera 'top': got a picture of type float64"),
        ("top", picture(0)[..., :1], 9.0, r"wanted uint8 RGB of shape \(height, width, 3\)"),
        ("top", picture(0)[:0], 9.0, "cannot fit 0x16 pixels"),
    ],
)
def test_what_is_no_next_picture_is_refused_and_changes_nothing(
    parts, camera, shown, time_s, message
):
    encoder = encoder_of(parts)
    stream = VisionStream(encoder)
    feed(stream, range(30))
    before = encoder.ask(stream, 2.9)
    with pytest.raises(InputError, match=message):
        stream.add(camera, shown, time_s, now_s=9.0)
    for first, second in zip(before, encoder.ask(stream, 2.9), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_stamp_from_the_future_is_refused_by_name_when_asked(parts):
    stream = VisionStream(encoder_of(parts))
    stream.add("top", picture(1), 1.0)
    stream.add("wrist", picture(1), 5.0)
    with pytest.raises(InputError, match=r"camera 'wrist'.*4 s in the future.*one clock"):
        stream.embedding(1.0)
    stream.clear()
    stream.add("wrist", picture(1), 1.0)
    assert stream.embedding(1.0).newest_age_s == 0


def test_without_a_late_picture_there_is_no_row(parts):
    stream = VisionStream(encoder_of(parts))
    with pytest.raises(InputError, match=r"no picture within the last 1\.2 s.*top, wrist"):
        stream.embedding(0.0)
    stream.add("top", picture(1), 1.0)
    stream.embedding(2.2)
    with pytest.raises(InputError, match="no picture within"):
        stream.embedding(2.3)
    with pytest.raises(InputError, match="now_s is nan"):
        stream.embedding(np.nan)


def test_a_stream_needs_cameras_and_a_sensible_tolerance(parts):
    with pytest.raises(InputError, match="no modality 'vision'"):
        VisionStream(encoder_of(parts, cameras=()))
    with pytest.raises(InputError, match="max_ahead_s is -1"):
        VisionStream(encoder_of(parts), max_ahead_s=-1.0)
    with pytest.raises(InputError, match="longest_s is inf"):
        VisionStream(encoder_of(parts), longest_s=np.inf)


def test_threads_feed_their_cameras_while_another_asks(parts):
    stream = VisionStream(encoder_of(parts))
    stream.add("top", picture(0), 0.0)
    failed = []

    def run(function):
        try:
            function()
        except Exception as error:  # noqa: BLE001 - reported below
            failed.append(error)

    def late(camera):
        for number in range(1, 300):
            stream.add(camera, picture(number % 251), number / 100)

    jobs = [lambda: late("top"), lambda: late("wrist")]
    jobs += [lambda: [stream.embedding(stream._times["top"][-1] + 1) for _ in range(200)]]
    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A camera may be ahead of the clock that was read; nothing else may fail.
    assert [e for e in failed if "in the future" not in str(e)] == []


def test_the_stream_of_a_bundle_equals_its_batch(tmp_path):
    embedder = BundleEmbedder.load(bundles.make_bundle(tmp_path / "bundle"))
    stream = VisionStream(embedder)
    batch = bundles.batch()
    for number, frames in enumerate(batch[VISION].values[0]):
        for camera, frame, seen in zip(
            bundles.CAMERAS, frames, batch[VISION].valid[0, number], strict=True
        ):
            if seen:
                stream.add(camera, frame, number / bundles.FPS)
    # Between two steps of the wrist camera one is missing: the neighbour stands in for it.
    row = stream.embedding(0.2).row
    assert row.shape == (bundles.DIM,)
    values = batch[VISION].values[:1].copy()
    values[0, 1, 1] = values[0, 0, 1]
    vectors = embedder.encode_frames(values.reshape(-1, *values.shape[3:]))
    full = embedder.embed_frames(vectors.reshape(1, 3, 2, -1), None, np.float32([[0, 0.1, 0.2]]))
    np.testing.assert_allclose(row, full[0], atol=1e-6)
