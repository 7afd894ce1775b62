"""Pictures out of a bag: which message each step shows, and what cannot be decoded."""

import io

import numpy as np
import pytest
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer

from jointspace.data.ros_types import COMPRESSED_IMAGE, IMAGE, ros_types
from jointspace.data.rosbag_messages import image_message
from jointspace.data.rosbag_pictures import decode_messages
from jointspace.data.schema import MessageSpan
from jointspace.errors import DataError

TOPIC = "/front/image"


def shade(value):
    return np.full((4, 6, 3), value, np.uint8)


def raw(value):
    message = image_message(TOPIC, shade(value), time_ns=0, frame_id="").message
    return ros_types().serialize_cdr(message, IMAGE)


def compressed(content):
    header = image_message(TOPIC, shade(0), time_ns=0, frame_id="").message.header
    data = np.frombuffer(content, np.uint8)
    message = ros_types().types[COMPRESSED_IMAGE](header=header, format="png", data=data)
    return ros_types().serialize_cdr(message, COMPRESSED_IMAGE)


def png(value):
    file = io.BytesIO()
    Image.fromarray(shade(value)).save(file, "PNG")
    return file.getvalue()


def decoded(folder, contents, *, kind=IMAGE, messages=(0, 1)):
    """Writes the serialised messages of one topic, and decodes some."""
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection(TOPIC, kind, typestore=ros_types())
        for number, content in enumerate(contents):
            writer.write(camera, number, content)
    return decode_messages(MessageSpan(folder, TOPIC, messages))


def test_a_message_is_shown_as_often_as_steps_ask_for_it(tmp_path):
    found = decoded(tmp_path / "bag", [raw(v) for v in (10, 20, 30)], messages=(0, 0, 2))
    assert [picture[0, 0, 0] for picture in found] == [10, 10, 30]


def test_compressed_pictures_are_read_too(tmp_path):
    contents = [compressed(png(value)) for value in (40, 50)]
    found = decoded(tmp_path / "bag", contents, kind=COMPRESSED_IMAGE)
    np.testing.assert_array_equal(np.stack(list(found)), np.stack([shade(40), shade(50)]))


def test_a_bag_that_ends_too_early_is_refused_after_the_pictures_before(tmp_path):
    found = decoded(tmp_path / "bag", [raw(10)], messages=(0, 3))
    assert next(found)[0, 0, 0] == 10
    with pytest.raises(DataError, match=rf"{TOPIC} ends before message 3"):
        next(found)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (raw(10)[:30], IMAGE, rf"message 1 of {TOPIC} is damaged: "),
        (compressed(png(10)[:40]), COMPRESSED_IMAGE, rf"message 1 of {TOPIC}: "),
    ],
)
def test_a_picture_that_is_cut_off_is_named(tmp_path, content, kind, message):
    whole = raw(5) if kind == IMAGE else compressed(png(5))
    found = decoded(tmp_path / "bag", [whole, content], kind=kind)
    assert next(found)[0, 0, 0] == 5
    with pytest.raises(DataError, match=message):
        next(found)
