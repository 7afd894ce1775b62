from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import ACTION, STATE, TEXT, VISION, Batch, ModalityInput, RowIds
from jointspace.config import AugmentConfig
from jointspace.data.augment import (
    add_step_noise,
    augment_batch,
    change_light,
    drop_cameras,
    drop_words,
    erase_square,
    shift_frames,
)
from jointspace.data.tokenizer import Tokenizer
from jointspace.errors import InputError

TOKENIZER = Tokenizer.fit(["put the red ball on the blue plate"], max_tokens=32)


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=(*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (-1, 3), (4, -5), (-5, -6), (0, 1)])
def test_a_shift_moves_every_picture_of_the_clip_and_repeats_the_edge(down, right):
    clip = pictures(2, 3, 6, 7)
    moved = shift_frames(clip, down=down, right=right)
    for y in range(6):
        for x in range(7):
            from_y, from_x = min(max(y - down, 0), 5), min(max(x - right, 0), 6)
            np.testing.assert_array_equal(moved[:, :, y, x], clip[:, :, from_y, from_x])


def test_a_shift_takes_views_and_leaves_them_alone():
    wide = pictures(1, 6, 14)
    before = wide.copy()
    view = wide[:, :, ::2]
    np.testing.assert_array_equal(shift_frames(view, down=0, right=0), view)
    np.testing.assert_array_equal(wide, before)


def test_a_shift_as_wide_as_the_picture_is_refused():
    with pytest.raises(InputError, match=r"cannot shift 6x7 pictures by \(0, 7\)"):
        shift_frames(pictures(1, 6, 7), down=0, right=7)


def test_light_follows_the_formula_and_keeps_order_and_range():
    clip = pictures(2, 4, 5)
    changed = change_light(clip, brightness=1.2, contrast=0.8)
    expected = (clip.astype(np.float64) * 1.2 - 127.5) * 0.8 + 127.5
    np.testing.assert_array_equal(changed, np.clip(np.rint(expected), 0, 255))
    assert changed.flags.writeable


def test_light_of_one_changes_nothing_and_bright_values_do_not_wrap_around():
    clip = pictures(2, 4, 5)
    np.testing.assert_array_equal(change_light(clip, brightness=1.0, contrast=1.0), clip)
    white = np.full((1, 2, 2, 3), 250, dtype=np.uint8)
    assert (change_light(white, brightness=1.5, contrast=1.0) == 255).all()


def test_noise_has_the_scale_asked_for_and_spares_padding():
    values = np.zeros((50, 40, 5), dtype=np.float32)
    valid = np.arange(40) < np.arange(50)[:, None]
    noisy = add_step_noise(values, valid, scale=0.1, rng=np.random.default_rng(0))
    assert not noisy[~valid].any()
    assert noisy[valid].std() == pytest.approx(0.1, rel=0.03)
    assert not values.any()


def drop(probability, seed=0, texts=("put the red ball on the blue plate", "the ball", "")):
    ids, valid = TOKENIZER.encode(list(texts))
    return (
        ids,
        valid,
        *drop_words(
            ids,
            valid,
            probability=probability,
            tokenizer=TOKENIZER,
            max_tokens=32,
            rng=np.random.default_rng(seed),
        ),
    )


def test_no_word_dropout_changes_nothing():
    ids, valid, new_ids, new_valid = drop(0.0)
    np.testing.assert_array_equal(new_ids, ids)
    np.testing.assert_array_equal(new_valid, valid)


def test_full_word_dropout_replaces_every_word_but_never_the_begin_mark():
    ids, valid, new_ids, new_valid = drop(1.0)
    assert (new_ids[:, 0] == ids[0, 0]).all()
    words = set(ids[valid].tolist()) - set(TOKENIZER.special_ids)
    assert not words & set(new_ids[new_valid].tolist())
    assert new_valid[2].sum() == 1
    assert not new_ids[~new_valid].any()


def test_a_dropped_word_is_sometimes_spelled_and_sometimes_unknown():
    ball = TOKENIZER.encode(["ball"])[0][0, 1]
    seen = set()
    for seed in range(20):
        *_, new_ids, new_valid = drop(1.0, seed=seed, texts=["ball"])
        seen.add(tuple(new_ids[0][new_valid[0]].tolist()[1:]))
    assert seen == set(TOKENIZER.replacements(int(ball)))


def test_words_are_dropped_at_the_rate_asked_for_and_the_others_keep_their_order():
    ids, valid, new_ids, new_valid = drop(0.15, texts=["the red ball on the plate"] * 2000)
    words = set(ids[0, 1:].tolist())
    kept = np.isin(new_ids, list(words)) & new_valid
    assert kept.sum() / (valid.sum() - 2000) == pytest.approx(0.85, abs=0.01)
    original = ids[0, 1:].tolist()
    for row in range(50):
        rest = iter(original)
        assert all(word in rest for word in new_ids[row][kept[row]].tolist())


def test_spelling_does_not_make_a_text_longer_than_allowed():
    ids, valid = TOKENIZER.encode(["ball plate ball plate"])
    new_ids, _ = drop_words(
        ids,
        valid,
        probability=1.0,
        tokenizer=TOKENIZER,
        max_tokens=6,
        rng=np.random.default_rng(1),
    )
    assert new_ids.shape[1] <= 6


def make_batch():
    rng = np.random.default_rng(5)
    frames_valid = np.ones((4, 2, 2), dtype=np.bool_)
    frames_valid[1, 1, 0] = False
    frames_valid[2] = False
    frames = pictures(4, 2, 2, 12, 12)
    frames[~frames_valid] = 0
    steps_valid = np.arange(5) < np.array([5, 3, 0, 4])[:, None]
    steps = rng.normal(size=(4, 5, 2)).astype(np.float32) * steps_valid[..., None]
    ids, valid = TOKENIZER.encode(["put the red ball"] * 4)
    zeros = np.zeros(4, dtype=np.int64)
    seconds = np.zeros(4)
    return Batch(
        {
            VISION: ModalityInput(frames, frames_valid, np.zeros((4, 2), dtype=np.float32)),
            TEXT: ModalityInput(ids, valid),
            STATE: ModalityInput(steps, steps_valid, np.zeros((4, 5), dtype=np.float32)),
            ACTION: ModalityInput(np.ones((4, 5), dtype=np.int64), steps_valid),
        },
        RowIds(zeros, zeros, zeros, seconds, seconds),
    )


def augment(batch, seed=0, word_dropout=0.5, **changes):
    return augment_batch(
        batch,
        config=replace(AugmentConfig(), **changes),
        word_dropout=word_dropout,
        tokenizer=TOKENIZER,
        max_tokens=32,
        rng=np.random.default_rng(seed),
    )


def test_equal_generators_give_equal_batches_and_others_do_not():
    batch = make_batch()
    one, again, other = augment(batch, 1), augment(batch, 1), augment(batch, 2)
    for modality in batch.inputs:
        np.testing.assert_array_equal(one[modality].values, again[modality].values)
    for modality in (VISION, TEXT, STATE):
        assert one[modality].values.tobytes() != other[modality].values.tobytes()


def test_padding_stays_zero_and_masks_stay_as_they_were():
    batch = make_batch()
    changed = augment(batch, contrast=1.0)
    for modality in (VISION, STATE):
        np.testing.assert_array_equal(changed[modality].valid, batch[modality].valid)
        assert not changed[modality].values[~changed[modality].valid].any()
    assert changed.rows is batch.rows


def test_the_pictures_of_a_row_change_alike_and_those_of_another_row_otherwise():
    batch = make_batch()
    frames = batch[VISION].values.copy()
    frames[:, :, :] = frames[0, 0, 0]
    same = ModalityInput(frames, np.ones((4, 2, 2), dtype=np.bool_))
    changed = augment(Batch({VISION: same}, batch.rows))[VISION].values
    for row in changed:
        np.testing.assert_array_equal(row, np.broadcast_to(row[0, 0], row.shape))
    assert len({row.tobytes() for row in changed}) == 4


def test_the_batch_that_comes_in_stays_as_it_is():
    batch, untouched = make_batch(), make_batch()
    augment(batch)
    for modality in batch.inputs:
        np.testing.assert_array_equal(batch[modality].values, untouched[modality].values)


def test_cameras_are_lost_whole_at_the_rate_asked_for_but_never_the_last():
    valid = np.ones((8000, 3, 2), dtype=np.bool_)
    valid[:, 2, 1] = False
    left = drop_cameras(valid, probability=0.4, rng=np.random.default_rng(0))
    kept = left.any(axis=1)
    np.testing.assert_array_equal(left, valid & kept[:, None])
    share = {pair: (kept == pair).all(axis=1).mean() for pair in ((1, 1), (1, 0), (0, 1), (0, 0))}
    # Where both would be lost, with 0.4 * 0.4, each is kept half of the time.
    assert share[1, 1] == pytest.approx(0.36, abs=0.02)
    assert share[1, 0] == pytest.approx(0.24 + 0.08, abs=0.02)
    assert share[0, 1] == pytest.approx(0.24 + 0.08, abs=0.02)
    assert share[0, 0] == 0


def test_a_camera_that_delivered_nothing_is_not_what_is_kept():
    valid = np.zeros((200, 2, 3), dtype=np.bool_)
    valid[:, 1, 1] = True
    valid[100:] = False
    left = drop_cameras(valid, probability=0.99, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(left, valid)


def test_a_dropped_camera_leaves_the_masks_of_a_batch_and_only_zeros_behind():
    batch = make_batch()
    lost = 0
    for seed in range(30):
        vision = augment(batch, seed, camera_dropout=0.9, contrast=1.0, erase=0.3)[VISION]
        np.testing.assert_array_equal(vision.present, batch[VISION].present)
        assert not (vision.valid & ~batch[VISION].valid).any()
        assert not vision.values[~vision.valid].any()
        lost += (batch[VISION].valid & ~vision.valid).any()
    assert lost > 20


def test_features_of_a_dropped_camera_are_zero_and_the_others_stay():
    valid = np.ones((6, 2, 2), dtype=np.bool_)
    values = np.random.default_rng(0).normal(size=(6, 2, 2, 3, 4)).astype(np.float16)
    rows = make_batch().rows.take([0, 0, 0, 0, 0, 0])
    batch = Batch({VISION: ModalityInput(values, valid, np.zeros((6, 2), np.float32))}, rows)
    vision = augment(batch, camera_dropout=0.6)[VISION]
    assert not vision.valid.all()
    assert vision.values.dtype == np.float16
    np.testing.assert_array_equal(vision.values, values * vision.valid[..., None, None])


def test_a_square_turns_grey_in_all_pictures_of_a_camera_and_nothing_else_changes():
    frames = np.full((300, 2, 2, 10, 12, 3), 7, dtype=np.uint8)
    valid = np.ones((300, 2, 2), dtype=np.bool_)
    valid[:, 1, 1] = False
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    erase_square(frames, valid, share=0.4, rng=rng)
    middles = (again.random((300, 2, 2)) * (10, 12)).astype(int)
    y, x = np.arange(10)[:, None], np.arange(12)
    for row in range(300):
        for time, camera in ((0, 0), (1, 0), (0, 1), (1, 1)):
            down, right = middles[row, camera]
            inside = (y >= down - 2) & (y < down + 2) & (x >= right - 2) & (x < right + 2)
            inside &= valid[row, time, camera]
            expected = np.broadcast_to(np.where(inside, 128, 7)[..., None], (10, 12, 3))
            np.testing.assert_array_equal(frames[row, time, camera], expected)


def test_equal_generators_erase_and_drop_alike_and_others_do_not():
    batch = make_batch()
    on = {"erase": 0.3, "camera_dropout": 0.5}
    one, again = augment(batch, 3, **on), augment(batch, 3, **on)
    np.testing.assert_array_equal(one[VISION].values, again[VISION].values)
    np.testing.assert_array_equal(one[VISION].valid, again[VISION].valid)
    other = augment(batch, 4, **on)
    assert one[VISION].values.tobytes() != other[VISION].values.tobytes()


def test_discrete_actions_are_never_changed():
    batch = make_batch()
    np.testing.assert_array_equal(augment(batch)[ACTION].values, batch[ACTION].values)


def test_zeros_switch_every_change_off():
    batch = make_batch()
    off = {"shift_px": 0, "brightness": 0.0, "contrast": 0.0, "step_noise": 0.0}
    changed = augment(batch, word_dropout=0.0, **off)
    for modality in batch.inputs:
        np.testing.assert_array_equal(changed[modality].values, batch[modality].values)
