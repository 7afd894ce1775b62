"""Random changes to training rows. Never flips: left and right are in the language."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from jointspace.batch import TEXT, VISION, Batch, ModalityInput
from jointspace.config import AugmentConfig
from jointspace.data.tokenizer import TextEncoding
from jointspace.errors import InputError

_MID_GREY = 127.5


def shift_frames(
    frames: UInt8[np.ndarray, "*clip height width 3"], *, down: int, right: int
) -> UInt8[np.ndarray, "*clip height width 3"]:
    """Moves all pictures of a clip by the same distance.

    The uncovered edge repeats the outermost row or column.

    Args:
        frames: the pictures.
        down: pixels to move down; negative moves up.
        right: pixels to move right; negative moves left.

    Returns:
        Moved copies.

    Raises:
        InputError: a distance is not smaller than the picture.
    """
    height, width = frames.shape[-3:-1]
    if abs(down) >= height or abs(right) >= width:
        raise InputError(f"cannot shift {height}x{width} pictures by ({down}, {right})")
    out = np.empty(frames.shape, dtype=np.uint8)
    _shift_into(out, np.ascontiguousarray(frames), down=down, right=right)
    return out


def change_light(
    frames: UInt8[np.ndarray, "*clip height width 3"], *, brightness: float, contrast: float
) -> UInt8[np.ndarray, "*clip height width 3"]:
    """Changes the light of all pictures of a clip alike.

    Args:
        frames: the pictures.
        brightness: factor on every value; 1 keeps it.
        contrast: factor on the distance from mid-grey, after the brightness; 1 keeps it.

    Returns:
        Changed copies, rounded and clipped to 0..255.
    """
    table = _light_tables(np.asarray([brightness]), np.asarray([contrast]))[0]
    return _look_up(frames, table).copy()


def drop_cameras(
    valid: Bool[np.ndarray, "batch time camera"], *, probability: float, rng: np.random.Generator
) -> Bool[np.ndarray, "batch time camera"]:
    """Drops whole cameras from rows, never the last that a row has.

    Args:
        valid: True where a picture is real.
        probability: of each camera of a row to be dropped. Where all of them would be, one is kept,
            each equally often.
        rng: where the choice comes from.

    Returns:
        What is left of `valid`.
    """
    draw = rng.random((valid.shape[0], valid.shape[2]))
    draw[~valid.any(axis=1)] = -1.0  # a camera that delivered nothing is not one to keep
    kept = (draw >= probability) | (draw == draw.max(axis=1, keepdims=True))
    left: np.ndarray = valid & kept[:, None]
    return left


def erase_square(
    frames: UInt8[np.ndarray, "batch time camera height width 3"],
    valid: Bool[np.ndarray, "batch time camera"],
    *,
    share: float,
    rng: np.random.Generator,
) -> None:
    """Turns a square of each camera grey, in place: the same one in all pictures of a row.

    Args:
        frames: the pictures, which are changed; masked ones are not.
        valid: True where a picture is real.
        share: side of the square, as a share of the picture's; at least one pixel. Its middle lies
            anywhere in the picture, so that corners are erased as often as the rest.
        rng: where the places come from.

    Source:
        DeVries & Taylor 2017 (Cutout), for clips.
    """
    height, width = frames.shape[3:5]
    side = max(1, round(share * height))
    middles = (rng.random((*valid[:, 0].shape, 2)) * (height, width)).astype(np.int64)
    for row, camera in np.argwhere(valid.any(axis=1)).tolist():
        top, left = (middles[row, camera] - side // 2).tolist()
        rows, columns = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
        frames[row, valid[row, :, camera], camera, rows, columns] = round(_MID_GREY)


def add_step_noise(
    values: Float32[np.ndarray, "batch time channel"],
    valid: Bool[np.ndarray, "batch time"],
    *,
    scale: float,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "batch time channel"]:
    """Adds normal noise to the real steps.

    Args:
        values: normalised readings.
        valid: True where a step is real; masked steps stay zero.
        scale: standard deviation, in normalised units.
        rng: where the noise comes from.

    Returns:
        Noisy copies.
    """
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    noise *= np.float32(scale)
    noise *= valid[..., None]
    noise += values
    return noise


def drop_words(
    ids: Int64[np.ndarray, "batch time"],
    valid: Bool[np.ndarray, "batch time"],
    *,
    probability: float,
    tokenizer: TextEncoding,
    max_tokens: int,
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, "batch time_out"], Bool[np.ndarray, "batch time_out"]]:
    """Replaces words at random by `<unk>` or by their spelling, never `<bos>`.

    Args:
        ids: token ids.
        valid: True where an id is real.
        probability: of each word to be replaced.
        tokenizer: says which ids are words, and what may replace them.
        max_tokens: rows that spelling makes longer are cut to this many ids.
        rng: where the choice comes from.

    Returns:
        New ids and validity, perhaps longer.
    """
    special = np.fromiter(tokenizer.special_ids, dtype=np.int64)
    chosen = (rng.random(ids.shape) < probability) & valid & ~np.isin(ids, special)
    which = rng.random(ids.shape)
    rows: list[list[int]] = []
    some = chosen.any(axis=1).tolist()
    lengths = valid.sum(axis=1).tolist()
    for row, (tokens, length) in enumerate(zip(ids.tolist(), lengths, strict=True)):
        del tokens[length:]
        if some[row]:
            # From the end, so that positions before it stay where they are.
            for at in np.flatnonzero(chosen[row])[::-1].tolist():
                choices = tokenizer.replacements(tokens[at])
                if choices:
                    tokens[at : at + 1] = choices[int(which[row, at] * len(choices))]
            del tokens[max(length, max_tokens) :]
        rows.append(tokens)
    longest = max((len(tokens) for tokens in rows), default=0)
    new_ids = np.zeros((len(rows), longest), dtype=np.int64)
    new_valid = np.zeros(new_ids.shape, dtype=np.bool_)
    for row, tokens in enumerate(rows):
        new_ids[row, : len(tokens)] = tokens
        new_valid[row, : len(tokens)] = True
    return new_ids, new_valid


def augment_batch(
    batch: Batch,
    *,
    config: AugmentConfig,
    word_dropout: float,
    tokenizer: TextEncoding,
    max_tokens: int,
    rng: np.random.Generator,
) -> Batch:
    """Changes pictures, steps and words of a training batch at random; row ids stay true.

    Args:
        batch: preprocessed rows; a frozen network's features of pictures stay as they are, but for
            those of cameras that are dropped.
        config: how strongly; 0 switches a change off. The two jitters and `paraphrase` are not read
            here, since they choose what a row is.
        word_dropout: probability of each word to be replaced.
        tokenizer: the one that made the batch.
        max_tokens: longest row of token ids.
        rng: where the choices come from; equal generators give equal batches.

    Returns:
        A new batch; discrete actions are never changed.
    """
    inputs = dict(batch.inputs)
    if VISION in inputs:
        inputs[VISION] = _augment_vision(inputs[VISION], config=config, rng=rng)
    if TEXT in inputs and word_dropout > 0:
        ids, valid = drop_words(
            inputs[TEXT].values,
            inputs[TEXT].valid,
            probability=word_dropout,
            tokenizer=tokenizer,
            max_tokens=max_tokens,
            rng=rng,
        )
        inputs[TEXT] = ModalityInput(ids, valid)
    if config.step_noise > 0:
        for modality, each in inputs.items():
            if modality not in (VISION, TEXT) and each.values.dtype == np.float32:
                noisy = add_step_noise(each.values, each.valid, scale=config.step_noise, rng=rng)
                inputs[modality] = ModalityInput(noisy, each.valid, each.time_s)
    return Batch(inputs, batch.rows)


def _augment_vision(
    frames: ModalityInput, *, config: AugmentConfig, rng: np.random.Generator
) -> ModalityInput:
    is_pictures = frames.values.dtype == np.uint8
    if config.camera_dropout > 0:
        left = drop_cameras(frames.valid, probability=config.camera_dropout, rng=rng)
        values = frames.values
        if not is_pictures:  # of pictures, masked ones are not copied below
            values = np.where(left[..., None, None], values, np.zeros((), values.dtype))
        frames = ModalityInput(values, left, frames.time_s)
    return _augment_frames(frames, config=config, rng=rng) if is_pictures else frames


def _augment_frames(
    frames: ModalityInput, *, config: AugmentConfig, rng: np.random.Generator
) -> ModalityInput:
    num_rows = len(frames.values)
    reach = config.shift_px
    shifts = rng.integers(-reach, reach, size=(num_rows, 2), endpoint=True).tolist()
    brightness = 1 + config.brightness * rng.uniform(-1, 1, size=num_rows)
    contrast = 1 + config.contrast * rng.uniform(-1, 1, size=num_rows)
    tables = _light_tables(brightness, contrast)
    relight = config.brightness > 0 or config.contrast > 0
    out = np.zeros_like(frames.values)
    whole = frames.valid.reshape(num_rows, -1).all(axis=1).tolist()
    for row in np.flatnonzero(frames.present).tolist():
        chosen = ... if whole[row] else frames.valid[row]
        pictures = frames.values[row][chosen]
        if relight:
            pictures = _look_up(pictures, tables[row])
        if whole[row]:
            _shift_into(out[row], pictures, down=shifts[row][0], right=shifts[row][1])
        else:
            out[row][chosen] = shift_frames(pictures, down=shifts[row][0], right=shifts[row][1])
    if config.erase > 0:
        erase_square(out, frames.valid, share=config.erase, rng=rng)
    return ModalityInput(out, frames.valid, frames.time_s)


def _light_tables(
    brightness: Float[np.ndarray, " row"], contrast: Float[np.ndarray, " row"]
) -> UInt8[np.ndarray, "row 256"]:
    """Returns what becomes of each of the 256 values, per row."""
    levels = np.arange(256) * brightness[:, None] - _MID_GREY
    levels = levels * contrast[:, None] + _MID_GREY
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _look_up(
    frames: UInt8[np.ndarray, "..."], table: UInt8[np.ndarray, " 256"]
) -> UInt8[np.ndarray, "..."]:
    """Maps every value; a byte table is several times faster than NumPy indexing or arithmetic."""
    changed = frames.tobytes().translate(table.tobytes())
    return np.frombuffer(changed, dtype=np.uint8).reshape(frames.shape)


def _shift_into(
    out: UInt8[np.ndarray, "*clip height width 3"],
    frames: UInt8[np.ndarray, "*clip height width 3"],
    *,
    down: int,
    right: int,
) -> None:
    """Writes shifted pictures to `out`, contiguous as `frames` are."""
    # One item per pixel: NumPy copies three separate bytes several times slower.
    pixels, moved = frames.view("V3")[..., 0], out.view("V3")[..., 0]
    to_y, from_y = _overlap(down, frames.shape[-3])
    to_x, from_x = _overlap(right, frames.shape[-2])
    moved[..., to_y, to_x] = pixels[..., from_y, from_x]
    # Columns first, within the moved rows; then whole rows, which fills the corners.
    moved[..., to_y, : to_x.start] = moved[..., to_y, to_x.start : to_x.start + 1]
    moved[..., to_y, to_x.stop :] = moved[..., to_y, to_x.stop - 1 : to_x.stop]
    moved[..., : to_y.start, :] = moved[..., to_y.start : to_y.start + 1, :]
    moved[..., to_y.stop :, :] = moved[..., to_y.stop - 1 : to_y.stop, :]


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Returns where an axis is written and where it is read when it moves by `shift`."""
    return (
        slice(max(shift, 0), length + min(shift, 0)),
        slice(max(-shift, 0), length - max(shift, 0)),
    )
