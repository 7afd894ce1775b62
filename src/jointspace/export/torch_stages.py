"""The same stages in torch, eager and compiled: what a bundle is measured against."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from jointspace.batch import ACTION, TEXT, VISION, Modality, gated_rows
from jointspace.data.collate import Sample, Steps
from jointspace.data.preprocess import Preprocessor
from jointspace.data.resize import resize_frame
from jointspace.deploy.graph import FRAME_GRAPH, fusion_graph
from jointspace.deploy.stages import END_TO_END, FRAME, FUSE, TEXT_MISS, WINDOW
from jointspace.deploy.workload import Workload, message_rgb, steps_stage
from jointspace.export.graphs import model_parts
from jointspace.models.embed import TorchEmbedder
from jointspace.models.joint import JointModel

Rows = Mapping[Modality, Float32[np.ndarray, "batch dim"]]


class TorchStages:
    """The stages of a model in torch, for rows of one workload.

    Eager, the whole way is the plain pipeline: `Preprocessor.batch`, then `TorchEmbedder`, which
    reads every picture of the window anew. Compiled, it is what a bundle does, with each graph a
    compiled module: pictures are encoded once.

    How many threads torch uses is set for the whole process; compiled modules keep the number that
    was set when they were compiled.

    Args:
        model: set to evaluation mode.
        preprocessor: of the robot that is measured.
        work: what each call reads.
        compiled: by `torch.compile`, for the shapes of `work`.
        device: where the model runs; it is moved there.
    """

    def __init__(
        self,
        model: JointModel,
        preprocessor: Preprocessor,
        work: Workload,
        *,
        compiled: bool,
        device: str = "cpu",
    ) -> None:
        self._preprocessor = preprocessor
        self._work = work
        self._compiled = compiled
        self._device = torch.device(device)
        self._embedder = TorchEmbedder(model, device=device, only=preprocessor.modalities)
        self._modules: dict[str, Callable[..., tuple[Tensor, ...]]] = {
            part.name: torch.compile(part.module, dynamic=False) if compiled else part.module
            for part in model_parts(model, preprocessor)
        }
        self._fused = [query.name for query in model.fused_queries]
        self._feeds = self._make_feeds()
        self._texts = self._run(TEXT)[0] if TEXT in self._feeds else None
        self._gates = {
            m: self._embedder.pair_gate(m, TEXT)
            for m in (VISION, ACTION)
            if m in self._feeds and self._texts is not None
        }

    def calls(self) -> dict[str, Callable[[], object]]:
        """Returns stage -> call; stages that the model lacks are left out."""
        names = {FRAME: FRAME_GRAPH, WINDOW: VISION, TEXT_MISS: TEXT}
        names |= {steps_stage(modality): modality for modality in self._work.steps}
        found: dict[str, Callable[[], object]] = {
            stage: partial(self._run, name) for stage, name in names.items() if name in self._feeds
        }
        if TEXT in self._feeds:
            found[TEXT_MISS] = self._text_miss
        query = next((q for q in self._fused if fusion_graph(q) in self._modules), None)
        if query is not None:
            made = [each for m in query.split("+") for each in self._run(Modality(m))]
            found[FUSE] = lambda: self._call(fusion_graph(query), made)
        if self._gates:
            found[END_TO_END] = self._compiled_way if self._compiled else self._plain_way
        return found

    def _plain_way(self) -> list[dict[Modality, float]]:
        batch = self._preprocessor.batch(self._samples())
        return self._compared({m: self._embedder.embed(m, batch) for m in self._gates})

    def _compiled_way(self) -> list[dict[Modality, float]]:
        rows: dict[Modality, np.ndarray] = {}
        for modality in self._gates:
            feeds = list(self._feeds[modality])
            if modality == VISION:
                squares = np.stack(self._squares()).transpose(0, 3, 1, 2)
                window = feeds[0].copy()
                newest = self._call(FRAME_GRAPH, [squares.astype(np.float32)])[0]
                window[:, -1] = newest.reshape(window[:, -1].shape)
                feeds[0] = window
            rows[modality] = self._call(modality, feeds)[0]
        return self._compared(rows)

    def _compared(self, rows: Rows) -> list[dict[Modality, float]]:
        """Returns the similarity of each row with its instruction, whose row is at hand."""
        found = []
        texts = self._texts if self._texts is not None else np.zeros((0, 0), np.float32)
        for number, text in enumerate(texts):
            similarity = {}
            for modality, gate in self._gates.items():
                row = rows[modality][number]
                pair = gated_rows(np.stack([row, text]), gate)
                similarity[modality] = float(pair[0] @ pair[1])
            found.append(similarity)
        return found

    def _text_miss(self) -> tuple[np.ndarray, ...]:
        ids, valid = self._preprocessor.tokenizer.encode(self._work.texts)
        return self._call(TEXT, [ids, valid])

    def _squares(self) -> list[np.ndarray]:
        px = self._preprocessor.image_px
        return [resize_frame(message_rgb(each), image_px=px) for each in self._work.messages]

    def _samples(self) -> list[Sample]:
        work, samples = self._work, []
        squares = self._squares() if work.clips is not None else []
        for number in range(len(work)):
            frames = None
            if work.clips is not None:
                frames = work.clips[number].copy()
                cameras = frames.shape[1]
                frames[-1] = squares[number * cameras : (number + 1) * cameras]
            steps = {}
            if ACTION in self._gates:
                values = work.steps[ACTION][number]
                time_s = np.arange(len(values)) / self._preprocessor.fps
                shaped = values if values.ndim == 2 else values[:, None].astype(np.float32)
                steps[ACTION] = Steps(shaped, time_s)
            clip_time_s = work.clip_time_s[number] if frames is not None else None
            samples.append(Sample(frames=frames, frames_time_s=clip_time_s, steps=steps))
        return samples

    def _make_feeds(self) -> dict[str, Sequence[np.ndarray]]:
        """Returns name of a part -> its inputs, as the runtime feeds them."""
        work = self._work
        found: dict[str, Sequence[np.ndarray]] = {}
        if work.clips is not None and FRAME_GRAPH in self._modules:
            newest = work.clips[:, -1].reshape(-1, *work.clips.shape[3:])
            found[FRAME_GRAPH] = (newest.transpose(0, 3, 1, 2).astype(np.float32),)
            pictures = work.clips.reshape(-1, *work.clips.shape[3:]).transpose(0, 3, 1, 2)
            some = [
                self._call(FRAME_GRAPH, [each.astype(np.float32)])[0]
                for each in np.split(pictures, len(pictures) // len(newest))
            ]
            vectors = np.concatenate(some).reshape(*work.clips.shape[:3], -1)
            valid = np.ones(vectors.shape[:3], np.bool_)
            found[VISION] = (vectors, valid, work.clip_time_s)
        if TEXT in self._modules:
            found[TEXT] = self._preprocessor.tokenizer.encode(work.texts)
        for modality, values in work.steps.items():
            if modality in self._modules:
                valid = np.ones(values.shape[:2], np.bool_)
                times = np.arange(values.shape[1], dtype=np.float32) / self._preprocessor.fps
                time_s = np.tile(times.astype(np.float32), (len(values), 1))
                found[modality] = (values, valid, time_s)
        return found

    def _run(self, name: str) -> tuple[np.ndarray, ...]:
        return self._call(name, self._feeds[name])

    def _call(self, name: str, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        with torch.inference_mode():
            made = self._modules[name](
                *(torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for a in arrays)
            )
            return tuple(each.cpu().numpy() for each in made)
