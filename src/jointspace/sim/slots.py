"""Slots for items in the model of the scene: a layout fills some, and the rest are hidden."""

import math
from typing import Any

import numpy as np
from jaxtyping import Int

from jointspace.sim.engine import load_mujoco
from jointspace.sim.layout import COLOURS, Item, Layout
from jointspace.sim.props import CAP_TOP_M, CONTAINER_FLOOR_M, OBJECT_DENSITY_KG_M3


class Slots:
    """The slots of one model.

    Args:
        model: made by `build_scene`.
    """

    def __init__(self, model: Any) -> None:
        self._mujoco = load_mujoco()
        self._model = model
        self._geoms: dict[str, np.ndarray] = {}
        for body in range(model.nbody):
            name = model.body(body).name
            if name.startswith(("object", "container", "button")):
                self._geoms[name] = np.flatnonzero(model.geom_bodyid == body)
        self._all_geoms = np.concatenate(list(self._geoms.values()))
        self._contype = model.geom_contype.copy()
        self._conaffinity = model.geom_conaffinity.copy()

    def body(self, item: Item) -> int:
        """Returns the body that moves with an item."""
        return int(self._model.body(self._body_names(item)[-1]).id)

    def geoms(self, item: Item) -> Int[np.ndarray, " geoms"]:
        """Returns every geom of an item."""
        return np.concatenate([self._geoms[name] for name in self._body_names(item)])

    def surface_m(self, item: Item) -> float:
        """Returns the height of the place that `World.position` names above the body's origin."""
        return {"object": 0.0, "container": CONTAINER_FLOOR_M, "button": CAP_TOP_M}[item.category]

    def fill(self, layout: Layout) -> None:
        """Gives the slots of a layout their shapes, sizes and colours, and hides the others."""
        model = self._model
        model.geom_rgba[self._all_geoms, 3] = 0.0
        model.geom_contype[self._all_geoms] = 0
        model.geom_conaffinity[self._all_geoms] = 0
        for name in self._geoms:
            model.body_gravcomp[model.body(name).id] = 1.0
        for item in layout.items:
            for name in self._body_names(item):
                geoms = self._geoms[name]
                model.geom_contype[geoms] = self._contype[geoms]
                model.geom_conaffinity[geoms] = self._conaffinity[geoms]
                model.geom_rgba[geoms, 3] = 1.0
                if name != item.name or item.category != "button":
                    model.geom_rgba[geoms, :3] = COLOURS[item.colour]
            if item.category == "object":
                self._shape(item)

    def place(self, layout: Layout, data: Any) -> None:
        """Puts the items of a layout where they belong."""
        for item in layout.items:
            name = self._body_names(item)[0]
            quat = (math.cos(item.yaw_rad / 2), 0.0, 0.0, math.sin(item.yaw_rad / 2))
            if item.category == "object":
                joint = data.joint(name)
                joint.qpos[:] = (*item.place, item.half_m, *quat)
            else:
                mocap = int(self._model.body(name).mocapid[0])
                data.mocap_pos[mocap] = (*item.place, 0.0)
                data.mocap_quat[mocap] = quat

    def _shape(self, item: Item) -> None:
        model, mujoco, half = self._model, self._mujoco, item.half_m
        geom = int(self._geoms[item.name][0])
        body = int(model.geom_bodyid[geom])
        kind, size, volume, inertia, bound = {
            "block": (
                mujoco.mjtGeom.mjGEOM_BOX,
                (half, half, half),
                8.0 * half**3,
                (2.0 / 3.0,) * 3,
                math.sqrt(3.0),
            ),
            "cylinder": (
                mujoco.mjtGeom.mjGEOM_CYLINDER,
                (half, half, 0.0),
                2.0 * math.pi * half**3,
                (7.0 / 12.0, 7.0 / 12.0, 0.5),
                math.sqrt(2.0),
            ),
            "ball": (
                mujoco.mjtGeom.mjGEOM_SPHERE,
                (half, 0.0, 0.0),
                4.0 / 3.0 * math.pi * half**3,
                (0.4,) * 3,
                1.0,
            ),
        }[item.kind]
        mass = OBJECT_DENSITY_KG_M3 * volume
        model.geom_type[geom] = int(kind)
        model.geom_size[geom] = size
        model.geom_rbound[geom] = bound * half
        model.geom_aabb[geom] = (0.0, 0.0, 0.0, half, half, half)
        model.bvh_aabb[model.body_bvhadr[body]] = model.geom_aabb[geom]
        model.body_mass[body] = mass
        model.body_inertia[body] = np.array(inertia) * mass * half**2
        model.body_gravcomp[body] = 0.0

    def _body_names(self, item: Item) -> tuple[str, ...]:
        if item.category == "container":
            return (f"{item.name}_{item.kind}",)
        return (item.name, f"{item.name}_cap") if item.category == "button" else (item.name,)
