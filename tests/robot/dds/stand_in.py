"""A robot whose network is a stand-in: it knows three colours, and takes as long as it is told.

Started by the black-box tests as a process of its own, through the same `run_node` as the command:
`python -m tests.robot.dds.stand_in DOMAIN [--delay-s SECONDS] [--reach] [KEY=VALUE ...]`.
"""

import argparse
import json
import sys
import time

import numpy as np

from jointspace.robot.configuration_file import read_robot_config
from jointspace.robot.core.percept import ActionChunk
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.dds.names import NodeName
from jointspace.robot.dds.network import Network
from jointspace.robot.dds.run import run_node

COLOURS = ("red", "green", "blue")


def unit(row):
    return (row / np.linalg.norm(row)).astype(np.float32)


class ColourEmbedder:
    """A text is the colour that it names, red if none."""

    embed_dim = 3
    model_id = "model-1"

    def embed_texts(self, texts):
        rows = [[colour in text for colour in COLOURS] for text in texts]
        return np.array([unit(np.array(row)) if any(row) else unit(np.eye(3)[0]) for row in rows])

    def similarity(self, query, query_row, target, target_rows):
        return target_rows @ query_row


class ColourStream:
    """A picture is its mean colour."""

    def __init__(self, delay_s):
        self._delay_s = delay_s

    def add(self, camera, picture, time_s):
        time.sleep(self._delay_s)
        self._row = unit(1 + picture.mean(axis=(0, 1)))
        self._time_s = time_s
        side_px = min(picture.shape[:2])
        return picture[:side_px, :side_px]

    def embedding(self, now_s):
        return self._row, now_s - self._time_s


class Reach:
    """Sends every joint of an arm to 0.5, whatever it is told."""

    needs_state = True
    moves = True

    def decode(self, percept):
        num_joints = percept.states.values.shape[1]
        there = np.full((1, num_joints), 0.5)
        return ActionChunk(values=there, rate_hz=1.0, start_s=percept.frame_s, hold=True)

    def reset(self):
        pass


def make_runtime(*overrides, delay_s=0.0, reach=False):
    decoder = "none" if reach else "velocity"
    config = read_robot_config(
        None, overrides=["use_bundle_threshold=false", f"decoder={decoder}", *overrides]
    )
    return RobotRuntime(
        config,
        ColourEmbedder(),
        cameras=["front"],
        make_stream=lambda: ColourStream(delay_s),
        decoder=Reach() if reach else None,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("domain_id", type=int)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--reach", action="store_true")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    summary = run_node(
        make_runtime(*arguments.overrides, delay_s=arguments.delay_s, reach=arguments.reach),
        network=Network(domain_id=arguments.domain_id, loopback=True),
        name=NodeName("jointspace"),
        model_id="stand-in",
        report=lambda line: sys.stderr.write(f"{line}\n"),
    )
    sys.stdout.write(json.dumps(summary.to_json()))


if __name__ == "__main__":
    main()
