"""Pictures from message bytes: encodings, padding, byte order, and everything broken."""

import array
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jointspace.errors import InputError
from jointspace.robot.core.images import (
    CompressedPicture,
    RawPicture,
    RgbPicture,
    image_from_bytes,
    image_from_file_bytes,
)

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
ALPHA = np.full((2, 3, 1), 77, dtype=np.uint8)


def message(pixels, *, padding=0):
    """Bytes and fields as a driver makes them, each row padded with 255."""
    rows = pixels.reshape(len(pixels), -1)
    padded = np.concatenate([rows, np.full((len(rows), padding), 255, dtype=np.uint8)], axis=1)
    return padded.tobytes(), {
        "height_px": pixels.shape[0],
        "width_px": pixels.shape[1],
        "step": padded.shape[1],
    }


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], axis=2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], axis=2)),
    ],
)
def test_row_24_colours_come_out_as_rgb_whatever_the_encoding_and_the_padding(
    encoding, pixels, padding
):
    data, fields = message(np.ascontiguousarray(pixels), padding=padding)
    np.testing.assert_array_equal(image_from_bytes(data, encoding=encoding, **fields), RGB)


def test_grey_becomes_three_equal_channels():
    data, fields = message(RGB[..., 0], padding=2)
    got = image_from_bytes(data, encoding="mono8", **fields)
    np.testing.assert_array_equal(got, np.repeat(RGB[..., :1], 3, axis=2))


def test_the_last_row_needs_no_padding():
    data, fields = message(RGB, padding=4)
    np.testing.assert_array_equal(image_from_bytes(data[:-4], encoding="rgb8", **fields), RGB)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "array", "numpy"])
def test_every_kind_of_buffer_that_message_libraries_hand_out_is_read(kind):
    data, fields = message(RGB)
    buffers = {"array": array.array("B", data), "numpy": np.frombuffer(data, dtype=np.uint8)}
    buffer = buffers[kind] if isinstance(kind, str) else kind(data)
    np.testing.assert_array_equal(image_from_bytes(buffer, encoding="rgb8", **fields), RGB)


def test_the_picture_is_a_read_only_view_of_the_bytes():
    data, fields = message(RGB)
    buffer = np.frombuffer(data, dtype=np.uint8)
    for encoding in ("rgb8", "bgr8", "mono8"):
        picture = image_from_bytes(buffer, encoding=encoding, **fields)
        assert np.shares_memory(picture, buffer)
        assert not picture.flags.writeable


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("mono16", "16-bit grey"), ("16UC1", "16-bit depth"), ("32FC1", "depth in metres")],
)
def test_depth_and_deep_grey_are_refused_by_name_for_a_colour_model(encoding, name):
    with pytest.raises(InputError, match=f"'{encoding}', which is {name}.*colour topic"):
        image_from_bytes(b"\0" * 48, height_px=2, width_px=3, step=12, encoding=encoding)


def test_the_refusal_of_deep_pixels_names_a_foreign_byte_order():
    def refuse(is_bigendian):
        with pytest.raises(InputError) as caught:
            image_from_bytes(
                b"\0" * 48,
                height_px=2,
                width_px=3,
                step=12,
                encoding="mono16",
                is_bigendian=is_bigendian,
            )
        return str(caught.value)

    assert "big-endian" in refuse(True)
    assert "endian" not in refuse(False)


def test_byte_order_does_not_matter_to_single_bytes():
    data, fields = message(RGB)
    got = image_from_bytes(data, encoding="rgb8", is_bigendian=True, **fields)
    np.testing.assert_array_equal(got, RGB)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"encoding": "rgb"}, "unknown 'rgb'. Did you mean 'rgb8'"),
        ({"encoding": "yuv422_yuy2"}, "unknown 'yuv422_yuy2'"),
        ({"encoding": ""}, "unknown ''"),
        ({"step": 8}, "step: got 8, expected at least 9"),
        ({"height_px": 3}, "got 18 bytes, expected 27.*cut off"),
        ({"height_px": 0}, "got 3x0 pixels"),
        ({"width_px": 0}, "got 0x2 pixels"),
        ({"width_px": 1 << 31, "step": 1 << 33}, "pixels, expected 1 to 8192"),
    ],
)
def test_fields_that_contradict_the_bytes_are_refused(changes, match):
    data, fields = message(RGB)
    with pytest.raises(InputError, match=match):
        image_from_bytes(data, **{"encoding": "rgb8", **fields, **changes})


@pytest.mark.parametrize("length", [0, 1, 17])
def test_data_that_is_cut_off_is_refused(length):
    data, fields = message(RGB)
    with pytest.raises(InputError, match=f"got {length} bytes, expected 18"):
        image_from_bytes(data[:length], encoding="rgb8", **fields)


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=64),
    height_px=st.integers(0, 9),
    width_px=st.integers(0, 9),
    step=st.integers(0, 40),
    encoding=st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16", "bayer_rggb8"]),
)
def test_any_fields_give_a_picture_of_the_bytes_or_are_refused(
    data, height_px, width_px, step, encoding
):
    try:
        got = image_from_bytes(
            data, height_px=height_px, width_px=width_px, step=step, encoding=encoding
        )
    except InputError:
        return
    assert got.shape == (height_px, width_px, 3)
    channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}[encoding]
    for row in range(height_px):
        for column in range(width_px):
            start = row * step + column * channels
            pixel = list(data[start : start + channels])
            wanted = pixel * 3 if channels == 1 else pixel[:3]
            assert got[row, column].tolist() == (wanted[::-1] if "bgr" in encoding else wanted)


def file_bytes(form, mode="RGB"):
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), (200, 30, 10), dtype=np.uint8)).convert(mode).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_compressed_picture_is_decoded(form):
    got = CompressedPicture(file_bytes(form), form.lower()).rgb()
    assert got.shape == (8, 8, 3)
    np.testing.assert_allclose(got[4, 4], (200, 30, 10), atol=4)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_a_compressed_picture_of_another_mode_becomes_rgb(mode):
    assert image_from_file_bytes(file_bytes("PNG", mode)).shape == (8, 8, 3)


def test_compressed_depth_is_refused_for_a_colour_model():
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 1000, dtype=np.uint16)).save(out, "PNG")
    with pytest.raises(InputError, match="expected colours"):
        image_from_file_bytes(out.getvalue(), format_name="16UC1; compressedDepth png")


@pytest.mark.parametrize("side_px", [8193, 60000])
def test_a_compressed_picture_that_would_fill_the_memory_is_refused_undecoded(side_px):
    header = b"IHDR" + struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"\x89PNG\r\n\x1a\n" + chunks + struct.pack(">I", 1 << 20) + b"IDAT"
    with pytest.raises(InputError, match="compressed image"):
        image_from_file_bytes(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_compressed_picture_that_is_cut_off_is_refused(form, share):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, form)
    data = out.getvalue()
    with pytest.raises(InputError, match="no whole JPEG or PNG"):
        image_from_file_bytes(data[: int(len(data) * share)], format_name=form)


def test_other_files_are_refused_even_if_pillow_could_read_them():
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "BMP")
    with pytest.raises(InputError, match="no whole JPEG or PNG"):
        image_from_file_bytes(out.getvalue())


def test_a_raw_picture_reads_its_own_fields():
    data, fields = message(RGB)
    np.testing.assert_array_equal(RawPicture(data, encoding="rgb8", **fields).rgb(), RGB)
    np.testing.assert_array_equal(RgbPicture(RGB).rgb(), RGB)
