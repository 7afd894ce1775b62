import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.policy.grounding import fit_grounding
from jointspace.robot.policy.palette import Palette
from jointspace.robot.policy.places import densest_place, moments

_COLOURS = np.array(
    [(200, 190, 170), (210, 20, 20), (20, 200, 20), (20, 20, 210), (220, 210, 20)], np.float32
)


def _scenes(count: int, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures with a square of each colour; which one is meant, and where on the table it is."""
    pictures = np.zeros((count, 64, 64), np.uint8)
    meant = rng.integers(1, 5, size=count)
    goals = np.zeros((count, 2))
    for number in range(count):
        corners = rng.permutation(9)[:4]
        for colour, corner in zip(range(1, 5), corners, strict=True):
            x, y = (
                4 + 20 * (corner % 3) + rng.integers(12),
                4 + 20 * (corner // 3) + rng.integers(12),
            )
            pictures[number, y : y + 4, x : x + 4] = colour
            if colour == meant[number]:
                # The camera looks from the other side: right in the picture is smaller y.
                goals[number] = (0.3 + 0.005 * (y + 1.5), 0.2 - 0.006 * (x + 1.5))
    return pictures, meant, goals


def _targets(
    pictures: np.ndarray, meant: np.ndarray, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Another colour of each picture, and where it is on the table."""
    target = (meant + rng.integers(1, 4, size=len(meant)) - 1) % 4 + 1
    second = np.zeros((len(meant), 2))
    for number, (picture, colour) in enumerate(zip(pictures, target, strict=True)):
        y, x = np.argwhere(picture == colour).mean(0)
        second[number] = (0.3 + 0.005 * y, 0.2 - 0.006 * x)
    return target, second


def test_demonstrations_alone_teach_which_colour_a_command_is_about_and_where_it_lies() -> None:
    rng = np.random.default_rng(0)
    pictures, meant, goals = _scenes(300, rng=rng)
    rows = np.eye(4)[meant - 1]
    rows, (counts, places) = np.float32(rows), moments(pictures, num_words=5)
    grounding, _ = fit_grounding(rows, counts, places, first=goals, second=goals, rng=rng)
    others, other_meant, other_goals = _scenes(50, rng=np.random.default_rng(1))
    for picture, colour, goal in zip(others, other_meant, other_goals, strict=True):
        relevance, _ = grounding.relevance(np.eye(4)[colour - 1])
        assert relevance.argmax() == colour
        place = densest_place(relevance, picture, blur_px=2, radius_px=6)
        np.testing.assert_allclose(grounding.on_table(place[:2]), goal, atol=0.01)


def test_a_target_that_is_the_fainter_part_of_a_row_is_found_as_well() -> None:
    rng = np.random.default_rng(0)
    pictures, meant, first = _scenes(300, rng=rng)
    target, second = _targets(pictures, meant, rng=rng)
    rows = np.concatenate([np.eye(4)[meant - 1], 0.03 * np.eye(4)[target - 1]], axis=1)
    rows, (counts, places) = np.float32(rows), moments(pictures, num_words=5)
    grounding, _ = fit_grounding(rows, counts, places, first=first, second=second, rng=rng)
    for row, colour in zip(rows[:50], target, strict=False):
        relevance = grounding.relevance(row)[1]
        others = np.delete(relevance, colour)
        assert relevance[colour] > 2 * others.max()


def test_a_target_that_every_skill_tells_in_its_own_way_is_found() -> None:
    """The signs of two entries name it together: no direction of the row does."""
    rng = np.random.default_rng(0)
    pictures, meant, first = _scenes(600, rng=rng)
    target, second = _targets(pictures, meant, rng=rng)
    skill = rng.choice([-1.0, 1.0], size=600)
    named = np.eye(4)[target - 1] * skill[:, None]
    rows = np.column_stack([np.eye(4)[meant - 1], 0.5 * skill, 0.5 * named])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows, (counts, places) = np.float32(rows), moments(pictures, num_words=5)
    grounding, _ = fit_grounding(rows, counts, places, first=first, second=second, rng=rng)
    assert len(grounding.texts) == 4 * 3 * 2
    for row, colour in zip(rows[:50], target, strict=False):
        assert grounding.relevance(row)[1].argmax() == colour


def test_what_learns_from_demonstrations_reads_what_they_show_and_else_what_they_are_told() -> None:
    rng = np.random.default_rng(0)
    pictures, meant, goals = _scenes(300, rng=rng)
    rows = np.eye(4)[meant - 1]
    rows[0] = np.eye(4)[meant[0] % 4]  # says another colour than it does
    goals[1] += 5.0  # does what no picture shows
    rows, (counts, places) = np.float32(rows), moments(pictures, num_words=5)
    grounding, (item, target) = fit_grounding(
        rows, counts, places, first=goals, second=goals, rng=rng
    )
    assert item.shape == target.shape == (300, 5)
    assert item[0].argmax() == meant[0]
    assert grounding.relevance(rows[0])[0].argmax() != meant[0]
    np.testing.assert_allclose(item[1], grounding.relevance(rows[1])[0])
    assert (item.argmax(1) == meant).all()


def test_pictures_that_do_not_tell_where_the_gripper_went_are_refused() -> None:
    rng = np.random.default_rng(0)
    counts, places = np.zeros((50, 5)), np.zeros((50, 5, 2))
    goals = rng.random((50, 2))
    with pytest.raises(InputError, match="0 of 50 demonstrations"):
        fit_grounding(np.float32(np.eye(50)), counts, places, first=goals, second=goals, rng=rng)


def test_a_palette_names_the_nearest_colour_and_finds_those_of_its_pictures() -> None:
    palette = Palette(_COLOURS)
    assert palette.words(_COLOURS.astype(np.uint8)[None]).tolist() == [[0, 1, 2, 3, 4]]
    pixels = np.repeat(_COLOURS.astype(np.uint8), 200, axis=0)
    fitted = Palette.fit(pixels, num_words=15, rng=np.random.default_rng(0))
    away = np.abs(fitted.colours[:, None] - _COLOURS).max(-1)
    assert away.min(0).max() < 1e-3


def test_a_thing_that_is_not_seen_is_said_not_to_be_found() -> None:
    picture = np.zeros((64, 64), np.uint8)
    found = densest_place(np.array((0.0, 1.0)), picture, blur_px=2, radius_px=6)
    assert not found.any()


def test_the_corners_of_a_square_tell_its_turn() -> None:
    y, x = np.mgrid[-32:32, -32:32] + 0.5
    straight = (np.maximum(np.abs(x), np.abs(y)) < 9).astype(np.uint8)
    turned = (np.abs(x) + np.abs(y) < 12).astype(np.uint8)
    seen = [
        densest_place(np.array((0.0, 1.0)), each, blur_px=2, radius_px=14)
        for each in (straight, turned)
    ]
    assert seen[0][4] < -0.2
    assert seen[1][4] > 0.2
    np.testing.assert_allclose([each[:2] for each in seen], 0, atol=0.02)
