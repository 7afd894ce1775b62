import ctypes.util
from dataclasses import replace

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim.engine import load_mujoco
from jointspace.sim.layout import COLOURS, Item, Layout, draw_layout
from jointspace.sim.rays import camera_rays, cast_rays, pixel_bounds, projected, visible_fraction
from jointspace.sim.render import make_renderer
from jointspace.sim.shading import shade
from jointspace.sim.world import World

PX = 96


def scene_of_a_sphere():
    """A sphere of radius .2 at the origin, and a camera a metre above that looks straight down."""
    mujoco = load_mujoco()
    spec = mujoco.MjSpec()
    spec.worldbody.add_light(name="key", dir=(0.0, 0.0, -1.0))
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=(5, 5, 0.1), pos=(0, 0, -0.1),
        rgba=(0.5, 0.5, 0.5, 1),
    )  # fmt: skip
    spec.worldbody.add_camera(name="above", pos=(0, 0, 1), fovy=60)
    body = spec.worldbody.add_body(name="object0")
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.2, 0, 0), rgba=(1, 0, 0, 1))
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def block(colour="red", place=(0.5, 0.0), name="object0", kind="block"):
    return Item(name=name, kind=kind, colour=colour, half_m=0.025, place=place)


def test_rays_meet_a_sphere_where_geometry_says():
    model, data = scene_of_a_sphere()
    rays = camera_rays(60.0, 48)
    hits = cast_rays(model, data, np.array((0.0, 0.0, 1.0)), rays)
    along = -rays[:, 2]  # |origin + t ray| = .2 with the origin (0, 0, 1)
    inside = along**2 - (1 - 0.2**2)
    met = inside >= 0
    np.testing.assert_array_equal(hits.geom >= 0, met)
    distance = along[met] - np.sqrt(inside[met])
    np.testing.assert_allclose(hits.distance[met], distance, atol=1e-9)
    normal = (np.array((0.0, 0.0, 1.0)) + distance[:, None] * rays[met]) / 0.2
    np.testing.assert_allclose(hits.normal[met], normal, atol=1e-7)


@pytest.mark.parametrize("samples", [1, 2])
def test_the_picture_of_a_sphere_is_a_shaded_disc(samples):
    model, data = scene_of_a_sphere()
    renderer = make_renderer(model, kind="ray", image_px=PX, shadows=False, samples=samples)
    picture = renderer.picture(data, "above").astype(int)
    red = picture[..., 0] - picture[..., 1] > 60
    slope = np.hypot(*np.meshgrid(*[(2 * np.arange(PX) + 1) / PX - 1] * 2)) * np.tan(np.pi / 6)
    edge = 0.2 / np.sqrt(1 - 0.2**2)
    pixel = 2 * np.tan(np.pi / 6) / PX
    assert red[slope < edge - pixel].all()
    assert not red[slope > edge + pixel].any()
    assert picture[PX // 2, PX // 2, 0] > picture[PX // 2, PX // 2 - 14, 0]
    disc = picture * (slope < edge - 2 * pixel)[..., None]
    np.testing.assert_allclose(disc, disc[::-1], atol=1)
    np.testing.assert_allclose(disc, disc[:, ::-1], atol=1)


def test_casting_rays_within_outlines_alone_misses_nothing():
    world = World(samples=1, shadows=False)
    for seed in range(5):
        world.reset(draw_layout(np.random.default_rng(seed)))
        for camera in ("front", "wrist"):
            model, data, renderer = world._model, world._data, world._renderer
            index = model.camera(camera).id
            rays = camera_rays(float(model.cam_fovy[index]), PX)
            rays = rays @ data.cam_xmat[index].reshape(3, 3).T
            hit = cast_rays(model, data, data.cam_xpos[index].copy(), rays).geom >= 0
            view = renderer._outlines_of_all.in_view(data, camera=index, image_px=PX)
            assert (view.mask.reshape(-1) | ~hit).all()
            assert view.mask.mean() < 0.6
            rays = cast_rays(model, data, data.cam_xpos[index].copy(), rays)
            assert set(rays.geom[hit].tolist()) <= set(view.geoms.tolist())


def test_a_fixed_camera_shows_the_same_as_one_that_draws_everything_anew():
    world, anew = World(samples=1), World(samples=1)
    anew._renderer._keeps_things = [False, False]
    for seed in range(4):
        for each in (world, anew):
            each.reset(draw_layout(np.random.default_rng(seed)))
        for action in ((0.05, 0.03, -0.06, 0, 0, 0.3, 1), (0, 0, -0.06, 0, 0, 0, 0)):
            for each in (world, anew):
                each.step(action)
            shown, wanted = world.pictures()["front"], anew.pictures()["front"]
            difference = np.abs(shown.astype(int) - wanted)
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.001


def test_what_a_renderer_drew_before_leaves_no_trace():
    world = World(cameras=("front", "wrist"), samples=1)
    layouts = [draw_layout(np.random.default_rng(seed)) for seed in range(3)]
    bowl = Item(name="container0", kind="bowl", colour="blue", half_m=0.065, place=(0.5, 0.0))
    base = Layout(items=(bowl,))
    for changed in (
        {"items": (replace(bowl, place=(0.5, 0.1)),)},
        {"items": (replace(bowl, colour="red"),)},
        {"light_shift": (0.1, 0.1, 0.0)},
        {"camera_shift_m": (0.0, 0.01, 0.0)},
        {"table_rgb": (0.4, 0.4, 0.4)},
    ):
        layouts += [base, replace(base, **changed)]
    for layout in layouts:
        fresh = World(cameras=("front", "wrist"), samples=1)
        for each in (world, fresh):
            each.reset(layout)
        wanted = fresh.pictures()
        for camera, picture in world.pictures().items():
            np.testing.assert_array_equal(picture, wanted[camera])


def test_colours_of_things_follow_from_sky_key_camera_and_highlight():
    model, data = scene_of_a_sphere()
    origin = np.array((0.0, 0.0, 1.0))
    rays = camera_rays(20.0, 6)
    hits = cast_rays(model, data, origin, rays)
    colours = shade(model, data, origin=origin, rays=rays, hits=hits)
    key = np.array((0.0, 0.0, 1.0))
    for row in range(len(rays)):
        normal, view = hits.normal[row], rays[row]
        halfway = (key - view) / np.linalg.norm(key - view)
        light = 0.38 + 0.16 * normal[2] + 0.48 * (normal @ key + 0.35) / 1.35
        light += 0.12 * max(-normal @ view, 0.0)
        wanted = np.array((1.0, 0.0, 0.0)) * light + 0.16 * max(normal @ halfway, 0.0) ** 16
        np.testing.assert_allclose(colours[:, row], wanted, atol=1e-5)


def test_bounds_hold_what_reaches_behind_the_camera_and_drop_what_lies_there():
    model, data = scene_of_a_sphere()
    camera = model.camera("above").id
    across = np.array([[(0.1, 0.1, 0.5), (0.3, 0.3, 1.5)]])
    top, bottom, left, right = pixel_bounds(
        model, data, camera=camera, places=across, image_px=PX
    )[0]  # fmt: skip
    share = np.linspace(0, 0.49, 30)[:, None]
    path = across[0, 0] * (1 - share) + across[0, 1] * share
    row, column, _ = projected(model, data, camera=camera, places=path[None], image_px=PX)
    seen = (row >= 0) & (row < PX) & (column >= 0) & (column < PX)
    assert seen.any()
    assert (row[seen] >= top).all()
    assert (row[seen] <= bottom).all()
    assert (column[seen] >= left).all()
    assert (column[seen] <= right).all()
    behind = np.array([[(0.0, 0.0, 2.0), (1.0, 1.0, 3.0)]])
    bounds = pixel_bounds(model, data, camera=camera, places=behind, image_px=PX)
    np.testing.assert_array_equal(bounds, 0)


def test_surfaces_have_no_speckles():
    world = World(image_px=224, samples=1)
    model, data = world._model, world._data
    shifts = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    for seed in range(4):
        world.reset(draw_layout(np.random.default_rng(seed)))
        index = model.camera("front").id
        rays = camera_rays(float(model.cam_fovy[index]), 224)
        rays = rays @ data.cam_xmat[index].reshape(3, 3).T
        geoms = cast_rays(model, data, data.cam_xpos[index].copy(), rays).geom.reshape(224, 224)
        grey = world.pictures()["front"].astype(int).sum(axis=2) / 3
        around = np.stack([np.roll(grey, shift, (0, 1)) for shift in shifts])
        alone = np.stack([np.roll(geoms, shift, (0, 1)) != geoms for shift in shifts])
        even = np.ptp(around, axis=0) < 12
        speckled = even & (np.abs(grey - np.median(around, axis=0)) > 12)
        assert even.mean() > 0.8
        assert not speckled[~alone.any(axis=0)].any()


def test_every_object_shows_its_own_colour_in_a_small_picture():
    world = World(image_px=64)
    tests = np.array(list(COLOURS.values()))
    for number, colour in enumerate(COLOURS):
        world.reset(Layout(items=(block(colour),)))
        row, column, _ = projected(
            world._model, world._data, camera=world._front, image_px=64,
            places=world.position(world.items[0])[None, None],
        )  # fmt: skip
        shown = world.pictures()["front"][int(row[0, 0]), int(column[0, 0])].astype(float)
        likeness = tests @ shown / np.linalg.norm(tests, axis=1)
        assert likeness.argmax() == number


def test_shadows_darken_the_table_beside_a_block_and_nothing_else():
    item = block()
    pictures = []
    for shadows in (False, True):
        world = World(shadows=shadows, samples=1)
        world.reset(Layout(items=(item,)))
        pictures.append(world.pictures()["front"].astype(int))
    lit, shaded = pictures
    assert (shaded <= lit).all()
    assert (lit - shaded).max() > 30
    red = lit[..., 0] - lit[..., 1] > 60
    np.testing.assert_array_equal(shaded[red], lit[red])


def test_finer_samples_change_edges_alone():
    pictures = []
    for samples in (1, 2):
        world = World(samples=samples)
        world.reset(draw_layout(np.random.default_rng(1)))
        pictures.append(world.pictures()["front"].astype(int))
    changed = (np.abs(pictures[0] - pictures[1]).max(axis=2) > 2).mean()
    assert 0.01 < changed < 0.2


def test_what_is_hidden_or_out_of_frame_is_not_visible():
    world = World()
    items = (block(), block(colour="blue", place=(0.0, 1.5), name="object1"))
    world.reset(Layout(items=items))
    assert world.visible(items[0], "front") == 1.0
    assert world.visible(items[1], "front") == 0.0
    model, data = world._model, world._data
    arm = np.flatnonzero(model.geom_bodyid == model.body("link0").id)
    assert 0.0 < visible_fraction(model, data, camera="front", geoms=arm) < 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "filament"}, "renderer: got 'filament', expected 'ray' or 'gl'"),
        ({"image_px": 4}, "image_px: got 4, expected at least 8"),
        ({"samples": 0}, "samples: got 0, expected 1 to 4"),
    ],
)
def test_impossible_renderers_are_refused(options, message):
    model, _ = scene_of_a_sphere()
    wanted = {"kind": "ray", "image_px": PX, "shadows": True, "samples": 1} | options
    with pytest.raises(InputError, match=message):
        make_renderer(model, **wanted)


def test_gl_without_a_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(InputError, match=r"no OpenGL library is installed; install one .* libegl1"):
        World(renderer="gl")


def test_gl_without_a_display_or_a_choice_says_what_to_set(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libEGL.so.1")
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="no display, and MUJOCO_GL is not set"):
        World(renderer="gl")
