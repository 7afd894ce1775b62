import math

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim.layout import (
    COLOURS,
    GAP_M,
    MAX_ITEMS,
    PLACE_X_M,
    PLACE_Y_M,
    Item,
    Layout,
    draw_layout,
)


def layouts(number):
    return [draw_layout(np.random.default_rng(seed)) for seed in range(number)]


def block(**changes):
    return Item(**({"name": "object0", "kind": "block", "colour": "red", "half_m": 0.025,
                    "place": (0.5, 0.0)} | changes))  # fmt: skip


def test_equal_seeds_give_equal_scenes_and_others_give_others():
    assert draw_layout(np.random.default_rng(3)) == draw_layout(np.random.default_rng(3))
    assert len({layout.items for layout in layouts(20)}) == 20


def test_no_two_items_stand_closer_than_the_fingers_need():
    for layout in layouts(200):
        for index, item in enumerate(layout.items):
            for other in layout.items[:index]:
                free_m = math.dist(item.place, other.place) - item.radius_m - other.radius_m
                assert free_m >= GAP_M


def test_every_item_stands_in_the_workspace():
    for layout in layouts(200):
        for item in layout.items:
            assert PLACE_X_M[0] <= item.place[0] <= PLACE_X_M[1]
            assert PLACE_Y_M[0] <= item.place[1] <= PLACE_Y_M[1]


def test_colours_are_unique_over_all_items_of_a_scene():
    for layout in layouts(200):
        assert len({item.colour for item in layout.items}) == len(layout.items) <= MAX_ITEMS


def test_every_scene_offers_something_for_every_skill():
    for layout in layouts(200):
        kinds = [item.kind for item in layout.of("object")]
        assert "block" in kinds
        assert sum(kind != "ball" for kind in kinds) >= 2
        assert layout.of("container")
        assert layout.of("button")


def test_all_kinds_and_colours_occur():
    items = [item for layout in layouts(200) for item in layout.items]
    kinds = {"block", "cylinder", "ball", "bowl", "plate", "tray", "button"}
    assert {item.kind for item in items} == kinds
    assert {item.colour for item in items} == set(COLOURS)


def test_colours_are_far_apart_from_each_other_and_from_the_tables():
    tables = [layout.table_rgb for layout in layouts(100)]
    colours = [np.array(rgb) for rgb in COLOURS.values()]
    for index, rgb in enumerate(colours):
        assert min([np.linalg.norm(rgb - other) for other in colours[:index]], default=1) > 0.3
        assert min(np.linalg.norm(rgb - np.array(table)) for table in tables) > 0.3


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ((block(colour="beige"),), "item 'object0': colour 'beige' is none of"),
        ((block(name="object9"),), "a block needs a slot object0"),
        ((block(name="button0"),), "a block needs a slot object0"),
        ((block(), block(colour="blue")), "items share a slot"),
        ((block(), block(name="object1")), "items share a colour"),
    ],
)
def test_impossible_layouts_are_refused(items, message):
    with pytest.raises(InputError, match=message):
        Layout(items=items)


def test_a_jitter_for_another_number_of_joints_is_refused():
    with pytest.raises(InputError, match="home_jitter: got 6 numbers, expected 7"):
        Layout(items=(), home_jitter=(0.0,) * 6)
