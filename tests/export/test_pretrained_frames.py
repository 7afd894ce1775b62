import json
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from jointspace.deploy.graph import TensorSpec
from jointspace.encoders.pretrained_vision import PretrainedFrameEncoder
from jointspace.export.onnx_file import write_onnx
from tests.encoders.pretrained import save

# On a busy machine torch's exporter takes minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PX, WIDTH = 32, 16
NUM_CONVOLUTIONS = 52


class _Frames(nn.Module):
    def __init__(self, frame):
        super().__init__()
        self.frame = frame

    def forward(self, images):
        return (self.frame.read_pixels(images),)


def test_batch_normalisation_is_folded_into_the_convolutions(tmp_path):
    # Of 32 px it makes 4 cells a side, which the grid of 3 does not divide.
    sizes = {"image_size": PX, "depth_multiplier": 0.25, "output_stride": 8}
    runtime = pytest.importorskip("onnxruntime")
    source = save(tmp_path / "network", "MobileNetV2", sizes)
    normalisation = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]}
    (tmp_path / "network" / "preprocessor_config.json").write_text(json.dumps(normalisation))
    frame = PretrainedFrameEncoder(source, image_px=PX, width=WIDTH, grid=3).eval()
    path = tmp_path / "frame.onnx"
    write_onnx(
        _Frames(frame),
        path,
        inputs=[TensorSpec("images", "float32", ("picture", 3, PX, PX))],
        outputs=[TensorSpec("frame_vectors", "float32", ("picture", WIDTH))],
        sizes={"picture": 3},
    )
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert kinds["Conv"] == NUM_CONVOLUTIONS
    assert not kinds.keys() & {"BatchNormalization", "Pad", "GatherND", "Where"}
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 4):
        pictures = np.random.default_rng(count).integers(0, 256, (count, PX, PX, 3), dtype=np.uint8)
        images = pictures.transpose(0, 3, 1, 2).astype(np.float32)
        found = session.run(None, {"images": images})[0]
        with torch.inference_mode():
            expected = frame(torch.from_numpy(pictures)).numpy()
        assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
