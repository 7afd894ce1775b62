"""Decodes the pictures in a bag, step by step."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jointspace.data.frame_cache import cache_key
from jointspace.data.ros_images import image_from_bytes, image_from_file_bytes
from jointspace.data.ros_types import COMPRESSED_IMAGE
from jointspace.data.rosbag_read import bag_files, open_bag
from jointspace.data.schema import MessageSpan
from jointspace.errors import DataError, InputError


def decode_messages(span: MessageSpan) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decodes the pictures of a span, one for each step.

    Args:
        span: where they are.

    Yields:
        RGB pictures at their own size; one that several steps show comes several times.

    Raises:
        DataError: the bag cannot be read, or (after the pictures before) one cannot be decoded, or
            the bag ends before the span does.
        MissingExtraError: rosbags is not installed.
    """
    wanted = iter(span.messages)
    place = next(wanted, None)
    with open_bag(span.path) as bag:
        for number, (_, _, data) in enumerate(bag.messages([span.topic])):
            if number != place:
                continue
            store, kind = bag.types_of(span.topic)
            picture = _picture(span, number, data, store, kind)
            while place == number:
                yield picture
                place = next(wanted, None)
            if place is None:
                return
    if place is not None:
        raise DataError(span.path, f"{span.topic} ends before message {place}")


def messages_cache_key(span: MessageSpan, *, image_px: int) -> str:
    """Names the resized pictures of a span by the content of its bag, its topic and its steps.

    Raises:
        OSError: a file of the bag cannot be read.
    """
    steps = hashlib.sha256(np.asarray(span.messages, dtype=np.int64).tobytes()).hexdigest()
    column = f"{span.topic} {steps}"
    keys = [cache_key(file, column=column, image_px=image_px) for file in bag_files(span.path)]
    return keys[0] if len(keys) == 1 else hashlib.sha256("".join(keys).encode()).hexdigest()[:32]


def _picture(
    span: MessageSpan, number: int, data: bytes, store: Any, kind: str
) -> UInt8[np.ndarray, "height width 3"]:
    try:
        message = store.deserialize_cdr(data, kind)
        if kind == COMPRESSED_IMAGE:
            return image_from_file_bytes(message.data, format_name=message.format)
        return image_from_bytes(
            message.data,
            height_px=message.height,
            width_px=message.width,
            step=message.step,
            encoding=message.encoding,
            is_bigendian=bool(message.is_bigendian),
        )
    except InputError as error:
        raise DataError(span.path, f"message {number} of {span.topic}: {error}") from None
    except Exception as error:  # rosbags raises whatever damaged bytes lead to
        raise DataError(
            span.path, f"message {number} of {span.topic} is damaged: {error}"
        ) from error
