import builtins
import re

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointspace.data.decode import VideoFacts, decode_images, decode_video, describe_video
from jointspace.errors import DataError, MissingExtraError
from tests.factories import write_lerobot, write_video

CAMERA = "observation.images.top"


def _plain(file):
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _noise(num_frames, *, height=48, width=64):
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, size=(num_frames, height, width, 3), dtype=np.uint8)


def _until_error(file):
    decoded = []
    try:
        for frame in decode_video(file):
            decoded.append(frame)  # noqa: PERF402 - what came before the error is wanted
    except DataError as error:
        return decoded, str(error)
    pytest.fail("no error")


def _write_with_b_frames(file, frames):
    """Frames stored in another order than they are shown, the index at the file's start."""
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"x264-params": "bframes=3:b-adapt=0:keyint=8:scenecut=0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_decodes_the_same_pixels_as_plain_pyav(tmp_path):
    frames = write_lerobot(tmp_path, num_episodes=1, num_frames=12)
    decoded = list(decode_video(frames.video()))
    np.testing.assert_array_equal(decoded, _plain(frames.video()))
    # Lossy, but the right picture: nearer to its own original than to the next.
    original = frames.pictures[0][CAMERA].astype(int)
    own = np.abs(np.array(decoded) - original).mean()
    assert own < 0.5 * np.abs(np.array(decoded[1:]) - original[:-1]).mean()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_frames_stored_out_of_order_come_in_order(tmp_path, num_threads):
    file = tmp_path / "b.mp4"
    _write_with_b_frames(file, _noise(20))
    with av.open(str(file)) as container:
        stored = [p.pts for p in container.demux(video=0) if p.pts is not None]
    assert stored != sorted(stored)
    decoded = list(decode_video(file, num_threads=num_threads))
    np.testing.assert_array_equal(decoded, _plain(file))
    assert len(decoded) == 20


def test_a_video_cut_in_half_gives_its_good_frames_and_then_an_error(tmp_path):
    file = tmp_path / "cut.mp4"
    _write_with_b_frames(file, _noise(24))
    whole = _plain(file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    decoded, error = _until_error(file)
    assert re.match(r".*cut\.mp4: (ends after|cannot be decoded|frame)", error)
    assert 0 < len(decoded) < 24
    np.testing.assert_array_equal(decoded, whole[: len(decoded)])


def _silence(size):
    """A packet that the decoder takes without a word, and without a frame: filler and an end."""
    filler = b"\x0c" + b"\xff" * (size - 11) + b"\x80"
    return len(filler).to_bytes(4, "big") + filler + b"\x00\x00\x00\x01\x0a"


@pytest.mark.parametrize("damage", [bytes, _silence])
def test_a_dropped_frame_is_an_error_and_not_a_shift(tmp_path, damage):
    file = tmp_path / "hole.mp4"
    write_video(file, _noise(10))
    with av.open(str(file)) as container:
        place = [p for p in container.demux(video=0) if p.size][4]
        start, size = place.pos, place.size
    content = bytearray(file.read_bytes())
    content[start : start + size] = damage(size)
    file.write_bytes(content)
    decoded, error = _until_error(file)
    assert re.match(r".*hole\.mp4: .*frame 4", error)
    assert len(decoded) == 4


def test_a_video_that_ends_between_two_frames_is_too_short(tmp_path):
    file = tmp_path / "short.mp4"
    _write_with_b_frames(file, _noise(16))
    with av.open(str(file)) as container:
        last = [p.pos for p in container.demux(video=0) if p.size][-1]
    file.write_bytes(file.read_bytes()[:last])
    decoded, error = _until_error(file)
    assert "short.mp4: ends after 15 of 16 frames" in error
    assert len(decoded) == 15


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_a_file_that_is_no_video_is_an_error(tmp_path, content):
    file = tmp_path / "none.mp4"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"none\.mp4: (the file is empty|cannot be)"):
        next(decode_video(file))
    with pytest.raises(DataError, match=r"none\.mp4: (the file is empty|cannot be)"):
        describe_video(file)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"gone\.mp4: no such file"):
        next(decode_video(tmp_path / "gone.mp4"))


def test_a_file_with_sound_only_is_an_error(tmp_path):
    file = tmp_path / "sound.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = np.zeros((1, 2048), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="holds no video"):
        next(decode_video(file))
    with pytest.raises(DataError, match="holds no video"):
        describe_video(file)


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[video\]'"):
        next(decode_video(tmp_path / "any.mp4"))


def test_describes_a_video_from_its_header(tmp_path):
    file = tmp_path / "seven.mp4"
    write_video(file, _noise(7), fps=12.5)
    assert describe_video(file) == VideoFacts("h264", 64, 48, 7, 12.5)


def test_pictures_in_a_table_decode_losslessly(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=5, images_in_table=True)
    decoded = list(decode_images(written.table(), column=CAMERA, root=tmp_path))
    np.testing.assert_array_equal(decoded, written.pictures[0][CAMERA])


def test_pictures_beside_a_table_are_found_by_their_path(tmp_path):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=3, images_in_table=True)
    cells = pq.read_table(written.table())[CAMERA].to_pylist()
    for cell in cells:
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / cell["path"]).write_bytes(cell["bytes"])
    loose = [{"bytes": None, "path": f"images/{cell['path']}"} for cell in cells]
    file = tmp_path / "loose.parquet"
    pq.write_table(pa.table({CAMERA: loose}), file)
    decoded = list(decode_images(file, column=CAMERA, root=tmp_path))
    np.testing.assert_array_equal(decoded, written.pictures[0][CAMERA])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"bytes": b"\x89PNG\r\n\x1a\nbroken", "path": ""}, "picture of row 1 cannot be decoded"),
        ({"bytes": None, "path": "gone.png"}, "picture of row 1 cannot be decoded"),
        ({"bytes": None, "path": None}, "row 1 holds no picture"),
    ],
)
def test_a_broken_picture_is_an_error_after_the_good_ones(tmp_path, cell, message):
    written = write_lerobot(tmp_path, num_episodes=1, num_frames=3, images_in_table=True)
    cells = pq.read_table(written.table())[CAMERA].to_pylist()
    cells[1] = cell
    file = tmp_path / "broken.parquet"
    pq.write_table(pa.table({CAMERA: cells}), file)
    frames = decode_images(file, column=CAMERA, root=tmp_path)
    np.testing.assert_array_equal(next(frames), written.pictures[0][CAMERA][0])
    with pytest.raises(DataError, match=message):
        next(frames)


def test_real_av1_decodes_as_plain_pyav_does(samples_dir):
    file = sorted((samples_dir / "cr5_raw_v21").rglob("*.mp4"))[6]
    assert describe_video(file) == VideoFacts("av1", 640, 480, 237, 10.0)
    for i, (ours, plain) in enumerate(zip(decode_video(file), _first(file, 20), strict=False)):
        np.testing.assert_array_equal(ours, plain, err_msg=str(i))


def _first(file, count):
    with av.open(str(file)) as container:
        for _, frame in zip(range(count), container.decode(video=0), strict=False):
            yield frame.to_ndarray(format="rgb24")
