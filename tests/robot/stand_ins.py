"""Stand-ins for a bundle: an embedder and a stream of pictures whose answers a test sets."""

from dataclasses import dataclass, field

import numpy as np

from jointspace.robot.configuration_file import robot_config
from jointspace.robot.core.images import RgbPicture
from jointspace.robot.core.perception import Band
from jointspace.robot.core.runtime import RobotRuntime

DIM = 8
PICTURE = RgbPicture(np.full((4, 4, 3), 100, dtype=np.uint8))


@dataclass
class FakeEmbedder:
    """Similarities and failures are what the test says."""

    similarity_value: float = 0.9
    error: Exception | None = None
    text_value: float = 1.0
    row_value: float = 1.0
    texts: list[str] = field(default_factory=list)
    embed_dim: int = DIM
    model_id: str = "model-1"

    def embed_texts(self, texts):
        self.texts.extend(texts)
        rows = np.zeros((len(texts), DIM), dtype=np.float32)
        for i, text in enumerate(texts):
            rows[i, sum(map(ord, text)) % DIM] = self.text_value
        return rows

    def similarity(self, query, query_row, target, target_rows):
        return np.full(len(target_rows), self.similarity_value, dtype=np.float32)


class FakeStream:
    """Keeps the times of pictures; its row is what the embedder's test says."""

    def __init__(self, embedder, before_row=None):
        self.embedder = embedder
        self.added = []
        self.before_row = before_row

    def add(self, camera, picture, time_s):
        self.added.append((camera, time_s))
        return picture

    def embedding(self, now_s):
        if self.before_row is not None:
            self.before_row()
        if self.embedder.error is not None:
            raise self.embedder.error
        row = np.zeros(DIM, dtype=np.float32)
        row[0] = self.embedder.row_value
        return row, now_s - self.added[-1][1]

    def grown(self, since_s):
        row, _ = self.embedding(0.0)
        return row, max(0.0, self.added[-1][1] - since_s)


VELOCITY = {
    "decoder": "velocity",
    "channels": ["linear.x", "angular.z"],
    "max_speeds": [0.5, 1.0],
    "max_accelerations": [1.0, 2.0],
    "velocity_names": ["forward", "turn left"],
    "velocity_values": [0.4, 0.0, 0.0, 0.8],
}


def make_runtime(embedder=None, *, cameras=("front",), decoder=None, before_row=None, **settings):
    """A runtime on stand-ins; the threshold accepts above 0.5 and rejects below 0.3."""
    embedder = FakeEmbedder() if embedder is None else embedder
    return RobotRuntime(
        robot_config({**VELOCITY, **settings}),
        embedder,
        cameras=cameras,
        make_stream=lambda: FakeStream(embedder, before_row),
        judge=Band(accept=0.5, reject=0.3),
        decoder=decoder,
    )
