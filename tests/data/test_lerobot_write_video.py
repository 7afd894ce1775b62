import io
import math
from fractions import Fraction

import av
import numpy as np
import pytest

from jointspace.data.lerobot_write_video import GROUP, VideoEncoder

COLOURS = (
    *((220, 30, 30), (240, 140, 20), (240, 220, 40), (40, 170, 60)),
    *((40, 200, 210), (40, 70, 220), (150, 50, 190), (240, 240, 240)),
)
"""Colours of blocks as a tabletop has them."""


def _squares(px, *, num_frames=12, seed=0):
    """Coloured squares a tenth of the picture wide that move over a dim table."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(200, 120, px)[:, None, None] * np.array([0.8, 0.75, 0.65])
    pictures = np.repeat(np.broadcast_to(ramp, (px, px, 3))[None], num_frames, axis=0)
    pictures = pictures.round().astype(np.uint8)
    inside = np.zeros(pictures.shape[:3], dtype=bool)
    side = px // 10
    for k, colour in enumerate(COLOURS):
        x = int((0.05 + 0.115 * k) * px)
        for i in range(num_frames):
            y = (int(rng.integers(px // 2)) + i) % (px - side)
            pictures[i, y : y + side, x : x + side] = colour
            # The outermost pixels share their colour with the table: it is stored at half size.
            inside[i, y + 2 : y + side - 2, x + 2 : x + side - 2] = True
    return pictures, inside


def _encode(parts, *, fps=10):
    height_px, width_px = parts[0].shape[1:3]
    encoder = VideoEncoder(height_px=height_px, width_px=width_px, fps=fps)
    for pictures in parts:
        encoder.add(pictures)
    return encoder.finish()


def _decode(content):
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _psnr(found, wanted):
    return 10 * math.log10(255**2 / np.mean((found.astype(float) - wanted) ** 2))


@pytest.mark.parametrize(("px", "least"), [(64, 29.5), (96, 30.5)])
def test_colours_of_small_objects_survive(px, least):
    pictures, inside = _squares(px)
    found = _decode(_encode([pictures]))
    assert found.shape == pictures.shape
    assert _psnr(found, pictures) > least
    assert _psnr(found[inside], pictures[inside]) > 36
    for k, colour in enumerate(COLOURS):
        of_colour = inside & (pictures == colour).all(axis=3)
        mean = found[of_colour].mean(axis=0)
        distances = np.abs(np.array(COLOURS) - mean).sum(axis=1)
        assert distances.argmin() == k
        assert distances[k] < 12


@pytest.mark.parametrize("fps", [10, 15, 30])
def test_frame_i_lies_at_i_over_fps_exactly(fps):
    content = _encode([_squares(32, num_frames=n)[0] for n in (25, 8)], fps=fps)
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        times = [packet.pts * packet.time_base for packet in container.demux(stream) if packet.size]
        assert times == [Fraction(i, fps) for i in range(33)]
        assert stream.frames == 33
        assert stream.average_rate == stream.base_rate == fps
        assert stream.duration * stream.time_base == Fraction(33, fps)


def test_every_episode_begins_anew_and_no_frame_is_far_from_one_that_stands_alone():
    content = _encode([_squares(32, num_frames=n)[0] for n in (25, 8)])
    with av.open(io.BytesIO(content)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    assert keys == [0, GROUP, 2 * GROUP, 25]


def test_is_h264_that_every_player_knows_without_date_or_version():
    with av.open(io.BytesIO(_encode([_squares(32)[0]]))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert not {"creation_time", "encoder"} & {*container.metadata, *stream.metadata}


def test_the_same_pictures_give_the_same_bytes_whatever_lies_in_memory():
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (1, 1, 1, 3)) + np.zeros((6, 32, 48, 3), int) for _ in range(3)]
    for part in parts:
        part[:, 4:20, 4:20] = rng.integers(0, 256, 3)
        part[:, :, ::7] //= 2
    parts = [part.astype(np.uint8) for part in parts]
    first = _encode(parts)
    kept = []
    for _ in range(100):
        kept.append(rng.bytes(int(rng.integers(1, 5000))))
        assert _encode(parts) == first
