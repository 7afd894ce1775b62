"""Colours of what belongs to the robot; those of things are in `jointspace.sim.layout`."""

PAINTS = {
    "white": (0.93, 0.93, 0.92, 1.0),
    "joint": (0.26, 0.28, 0.32, 1.0),
    "hand": (0.86, 0.87, 0.88, 1.0),
    "finger": (0.15, 0.16, 0.18, 1.0),
    "dark": (0.17, 0.18, 0.20, 1.0),
}
