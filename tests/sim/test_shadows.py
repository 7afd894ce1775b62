import math

import numpy as np

from jointspace.sim.layout import draw_layout
from jointspace.sim.shadows import SoftShadows
from jointspace.sim.world import World


def points(number=4000):
    """Places all over the table, in no order."""
    rng = np.random.default_rng(0)
    x_m, y_m = rng.uniform(0.0, 1.0, number), rng.uniform(-0.6, 0.6, number)
    return x_m.astype(np.float32), y_m.astype(np.float32)


def scene(seed):
    world = World(cameras=())
    world.reset(draw_layout(np.random.default_rng(seed)))
    world.step((0.05, 0.02, -0.06, 0, 0, 0.3, 0.5))
    return world._model, world._data


def plain_darkness(model, data, geoms, x, y):
    """How dark one point is: each geom is a bar with round ends, in the plainest words."""
    darkest = 0.0
    light = -data.light_xdir[0]
    for geom in geoms:
        if model.geom_rgba[geom, 3] == 0 or data.geom_xpos[geom, 2] >= 0.5:
            continue
        halves = model.geom_aabb[geom, 3:]
        axis = int(np.argmax(halves))
        radius = sorted(halves)[1]
        offset = data.geom_xmat[geom].reshape(3, 3)[:, axis] * max(max(halves) - radius, 0.0)
        ends = []
        for sign in (-1, 1):
            end = data.geom_xpos[geom] + sign * offset
            ends.append(end[:2] - light[:2] / light[2] * max(end[2], 0.0))
        way = ends[1] - ends[0]
        share = 0.0
        if way @ way > 1e-6:
            share = min(max((np.array((x, y)) - ends[0]) @ way / (way @ way), 0.0), 1.0)
        away = math.dist((x, y), ends[0] + share * way)
        height = max(data.geom_xpos[geom, 2] - abs(offset[2]) - radius, 0.0)
        soft = 0.010 + 0.35 * height
        full = min(max((radius + soft - away) / (2 * soft), 0.0), 1.0)
        darkest = max(darkest, 0.42 / (1 + 3.5 * height) * full**2 * (3 - 2 * full))
    return darkest


def test_shadows_are_those_of_bars_with_round_ends():
    for seed in range(2):
        model, data = scene(seed)
        shadows = SoftShadows(model)
        x_m, y_m = points(1500)
        dark = shadows.darkness(data, x_m=x_m, y_m=y_m)
        assert (dark > 0.05).mean() > 0.05
        geoms = shadows._casters["all"]
        for place in range(0, len(x_m), 10):
            wanted = plain_darkness(model, data, geoms, float(x_m[place]), float(y_m[place]))
            assert abs(dark[place] - wanted) < 2e-4


def test_shadows_of_fixed_and_of_moving_things_make_those_of_all():
    model, data = scene(3)
    shadows = SoftShadows(model)
    x_m, y_m = points()
    parts = {
        casters: shadows.darkness(data, x_m=x_m, y_m=y_m, casters=casters)
        for casters in ("all", "fixed", "moving")
    }
    assert (parts["fixed"] > parts["moving"]).any()
    assert (parts["moving"] > parts["fixed"]).any()
    np.testing.assert_allclose(parts["all"], np.maximum(parts["fixed"], parts["moving"]), atol=1e-6)


def test_no_points_and_no_shadows_are_no_matter():
    model, data = scene(0)
    shadows = SoftShadows(model)
    nothing = np.zeros(0, dtype=np.float32)
    assert shadows.darkness(data, x_m=nothing, y_m=nothing).shape == (0,)
    far = np.full(3, 9.0, dtype=np.float32)
    np.testing.assert_array_equal(shadows.darkness(data, x_m=far, y_m=far), 0.0)
