"""A policy of thirty random moments, and random pictures for it."""

import numpy as np

from jointspace.robot.policy.grounding import Grounding
from jointspace.robot.policy.head import ControlHead
from jointspace.robot.policy.index import DemonstrationIndex
from jointspace.robot.policy.motion import MotionLayout
from jointspace.robot.policy.observe import Observer
from jointspace.robot.policy.palette import Palette
from jointspace.robot.policy.retrieval import Demonstrations
from jointspace.robot.policy.wordings import KnownWordings
from jointspace.sim.scene import ACTION_NAMES, STATE_NAMES

LAYOUT = MotionLayout.of(STATE_NAMES, ACTION_NAMES)
ARM = {
    "decoder": "retrieval",
    "output": "float64_multi_array",
    "image_topics": ["front/image", "wrist/image"],
    "control_rate_hz": 10.0,
    "channels": list(ACTION_NAMES),
    "max_speeds": [100.0] * 7,
    "max_accelerations": [100000.0] * 7,
}
"""Settings of a robot that the policy drives, with limits that change nothing."""


def tiny_demonstrations(rng: np.random.Generator, *, text_dim: int = 1) -> Demonstrations:
    palette = Palette(np.array([(200, 190, 170), (210, 20, 20)], np.float32))
    texts = np.eye(text_dim, dtype=np.float32)
    weights = np.zeros((text_dim, 2))
    weights[:, 1] = 1
    grounding = Grounding(np.zeros((6, 2)), texts, weights, weights)
    observer = Observer(palette, grounding, num_cameras=2)
    sizes = {"text": (3, text_dim), "first": (6, observer.dim + 3), "second": (6, 6), "row": (4, 6)}
    arrays = {}
    for name, (outer, inner) in {**sizes, "chunk": (40, 4)}.items():
        arrays[f"{name}.weight"] = rng.normal(size=(outer, inner)).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(size=outer).astype(np.float32)
    rows = rng.normal(size=(30, 4)).astype(np.float32)
    chunks = rng.normal(size=(30, 40)).astype(np.float16).astype(np.float32)
    index = DemonstrationIndex(rows, chunks, np.arange(30))
    head = ControlHead(arrays)
    known = KnownWordings(texts)
    return Demonstrations(("front", "wrist"), 64, 10.0, "id", LAYOUT, observer, known, head, index)


def state_at(step: int) -> np.ndarray:
    """A gripper that closes after four steps, and a tool that moves."""
    state = np.linspace(0, 1, 14)
    state[7] = 1.0 if step < 4 else 0.5
    state[8] = 0.01 * step
    return state


def tiny_pictures(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(256, size=(64, 64, 3), dtype=np.uint8) for name in ("front", "wrist")
    }
