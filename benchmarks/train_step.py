"""How fast a training step is against a plain PyTorch loop, and where its time goes.

- `ours`: `run_steps`, as `jointspace train` calls it: rows of the next step are read in a thread.
- `plain`: the same model, loss, gradient clipping and optimiser in the usual loop over torch's
  `DataLoader` without workers, whose data set reads and augments one row at a time.

Both begin with the same weights and train on the same rows with the same augmentation, which is
checked before anything is timed. They take turns; medians over the repeats are printed. Samples
per second are by the clock, without the first steps. The share of waiting is what the log of the
run says (`waited_s`). Stages and operators are measured afterwards, in one thread without a reader
beside it, in seconds of the processor, as means over consecutive steps; a tower's forward and
backward run alone for that, so that the rest of the step is what is left of the whole.

The run folder is a temporary one; pictures are decoded into the cache of frames.

Run: python benchmarks/train_step.py --data DATA --config configs/demo.toml --json train_step.json
"""

import argparse
import copy
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset

from jointspace.batch import TEXT, VISION, Batch, ModalityInput, RowIds
from jointspace.config import read_config
from jointspace.data.samples import SampleSet
from jointspace.models.joint import JointModel
from jointspace.models.tensors import to_tensors
from jointspace.train.devices import autocast, repeatable
from jointspace.train.encoding import common_modalities, draw_fusions, encode_rows
from jointspace.train.logs import read_log
from jointspace.train.loop import LOG_EVERY, run_steps
from jointspace.train.objective import loss_of_vectors, training_loss
from jointspace.train.optim import build_optimizer
from jointspace.train.sampling import augment_generator, step_rows
from jointspace.train.setup import PreparedRun, prepare_run

CPU = torch.device("cpu")
NUM_OPERATORS = 10
NUM_STAGE_STEPS = 10


@dataclass(frozen=True)
class Speed:
    """One loop, once.

    Attributes:
        samples_per_s: rows by the clock.
        waiting: share of the time in which the step waited for its rows.
    """

    samples_per_s: float
    waiting: float


def main() -> None:
    """Measures, prints tables, and writes JSON if asked to."""
    arguments = _parser().parse_args()
    config = read_config(arguments.config, overrides=tuple(arguments.set))
    config = replace(
        config,
        train=replace(
            config.train,
            num_steps=arguments.steps,
            evaluate_every=arguments.steps,
            warmup_steps=min(config.train.warmup_steps, arguments.steps),
            device="cpu",
        ),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        repeatable(CPU, num_threads=arguments.threads),
    ):
        run = prepare_run(
            config, data=arguments.data, out=Path(folder), resume=False, show_progress=True
        )
        torch.manual_seed(0)
        model = run.new_model()
        _check_rows(run)
        speeds: dict[str, list[Speed]] = {"ours": [], "plain": []}
        for repeat in range(arguments.repeats):
            own = Path(folder) / str(repeat)
            speeds["ours"].append(_ours(run, copy.deepcopy(model), own))
            speeds["plain"].append(_plain(run, copy.deepcopy(model)))
        torch.set_num_threads(1)
        stages = _stages(run, copy.deepcopy(model))
        operators = _operators(run, copy.deepcopy(model))
    _print_tables(speeds, stages, operators)
    if arguments.json:
        payload = {
            "version": 1,
            "machine": {"processor": _processor(), "cores": os.cpu_count()},
            "packages": {"python": platform.python_version(), "torch": torch.__version__},
            "config": str(arguments.config),
            "set": arguments.set,
            "threads": arguments.threads,
            "steps": arguments.steps,
            "samples_per_s": {k: [each.samples_per_s for each in v] for k, v in speeds.items()},
            "waiting": {k: [each.waiting for each in v] for k, v in speeds.items()},
            "stage_ms": stages,
            "operators": operators,
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=_steps, default=30, help=f"the first {LOG_EVERY} warm up")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser


def _steps(text: str) -> int:
    steps = int(text)
    if steps < 2 * LOG_EVERY:
        raise argparse.ArgumentTypeError(f"{steps} steps; wanted at least {2 * LOG_EVERY}")
    return steps


def _ours(run: PreparedRun, model: JointModel, folder: Path) -> Speed:
    folder.mkdir()
    run_steps(model, config=run.config, folder=folder, batch_at=run.batch_at, validate=None)
    records = [each for each in read_log(folder / "log.jsonl") if each["kind"] == "train"]
    first, last = records[0], records[-1]
    taken_s = last["elapsed_s"] - first["elapsed_s"]
    num_rows = (last["step"] - first["step"]) * run.config.train.batch_size
    return Speed(num_rows / taken_s, (last["waited_s"] - first["waited_s"]) / taken_s)


def _plain(run: PreparedRun, model: JointModel) -> Speed:
    settings = run.config.train
    optimizer = _optimizer(run, model)
    model.train()
    waited_s = 0.0
    batches = _loader(run)
    for step in range(settings.num_steps):
        if step == LOG_EVERY:
            started, waited_s = time.perf_counter(), 0.0
        asked = time.perf_counter()
        batch = next(batches)
        waited_s += time.perf_counter() - asked
        _train_on(batch, run=run, model=model, optimizer=optimizer)
    taken_s = time.perf_counter() - started
    num_rows = (settings.num_steps - LOG_EVERY) * settings.batch_size
    return Speed(num_rows / taken_s, waited_s / taken_s)


def _train_on(
    batch: Batch, *, run: PreparedRun, model: JointModel, optimizer: torch.optim.Optimizer
) -> None:
    optimizer.zero_grad()
    with autocast(run.config.train.precision, CPU):
        loss = training_loss(model, batch, config=run.config.loss).total
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), run.config.train.clip_norm)
    optimizer.step()
    loss.item()


def _optimizer(run: PreparedRun, model: JointModel) -> torch.optim.Optimizer:
    settings = run.config.train
    return build_optimizer(
        model,
        name=settings.optimizer,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        beta1=settings.beta1,
        beta2=settings.beta2,
        pretrained_factor=settings.pretrained_factor,
    )


class _Rows(Dataset[Batch]):
    """Reads one row at a time: item (step, place) is that row of that step."""

    def __init__(self, run: PreparedRun) -> None:
        self._run = run

    def __getitem__(self, item: tuple[int, int]) -> Batch:
        step, place = item
        samples, indices = _chosen(self._run, step)
        rng = augment_generator(step, seed=self._run.config.seed, rows=np.asarray([place]))
        return _as_trained(self._run, samples, samples.batch(indices[[place]], rng=rng))


def _loader(run: PreparedRun) -> Iterator[Batch]:
    steps = range(run.config.train.num_steps)
    rows = [[(step, place) for place in range(len(_chosen(run, step)[1]))] for step in steps]
    return iter(DataLoader(_Rows(run), batch_sampler=rows, collate_fn=_joined))


def _chosen(run: PreparedRun, step: int) -> tuple[SampleSet, np.ndarray]:
    """Returns where a step's rows are from, and which they are."""
    windows, episodes = run.train_windows, run.train_episodes
    rows = step_rows(
        step,
        seed=run.config.seed,
        num_windows=0 if windows is None else len(windows),
        num_episodes=len(episodes),
        batch_size=run.config.train.batch_size,
        episode_fraction=run.config.train.episode_fraction,
    )
    return (episodes if windows is None or rows.kind == "episodes" else windows), rows.indices


def _as_trained(run: PreparedRun, samples: SampleSet, batch: Batch) -> Batch:
    """Leaves the text of windows out where the configuration does."""
    if samples is run.train_episodes or run.config.train.text_on_windows:
        return batch
    return Batch({m: each for m, each in batch.inputs.items() if m != TEXT}, batch.rows)


def _joined(rows: list[Batch]) -> Batch:
    """Pads rows to the longest and stacks them, as tensors."""
    inputs = {}
    for modality in rows[0].inputs:
        parts = [row[modality] for row in rows]
        length = max(part.values.shape[1] for part in parts)
        inputs[modality] = ModalityInput(
            _stacked([part.values for part in parts], length),
            _stacked([part.valid for part in parts], length),
            None if parts[0].time_s is None else _stacked([part.time_s for part in parts], length),
        )
    return Batch(inputs, RowIds.concatenate(row.rows for row in rows))


def _stacked(parts: list[Any], length: int) -> Tensor:
    out = torch.zeros(
        len(parts), length, *parts[0].shape[2:], dtype=torch.as_tensor(parts[0]).dtype
    )
    for row, part in enumerate(parts):
        out[row, : part.shape[1]] = torch.from_numpy(part[0])
    return out


def _check_rows(run: PreparedRun) -> None:
    """Refuses to compare loops that do not train on the same rows."""
    for step, (ours, plain) in enumerate(
        zip(map(run.batch_at, range(4)), _loader(run), strict=False)
    ):
        same = ours.inputs.keys() == plain.inputs.keys() and all(
            torch.equal(torch.as_tensor(each.valid), plain[m].valid)
            and torch.equal(torch.as_tensor(each.values), plain[m].values)
            for m, each in ours.inputs.items()
        )
        if not same:
            raise SystemExit(f"step {step}: the loops were given different rows")


class _Clock:
    """Adds up seconds of the processor under names."""

    def __init__(self) -> None:
        self.total_s: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.total_s[name] += time.process_time() - started


def _stages(run: PreparedRun, model: JointModel) -> dict[str, float]:
    """Returns milliseconds of the processor of each stage, mean over consecutive steps."""
    optimizer = _optimizer(run, model)
    model.train()
    _time_step(0, run, model, optimizer, _Clock())  # warms up
    clock = _Clock()
    for step in range(NUM_STAGE_STEPS):
        _time_step(step, run, model, optimizer, clock)
    ms = {name: 1000 * value / NUM_STAGE_STEPS for name, value in clock.total_s.items()}
    ms["augmentation"] = ms.pop("read and augment") - ms["reading"]
    towers = {name: value for name, value in ms.items() if name.endswith(" tower")}
    frame = ms.pop("frames", 0.0)
    if "vision tower" in ms:
        ms["vision tower: frame encoder"] = frame
        ms["vision tower: the rest"] = ms.pop("vision tower") - frame
    ms["projections and fusion"] = ms.pop("encode") - sum(towers.values())
    return ms


def _time_step(
    step: int,
    run: PreparedRun,
    model: JointModel,
    optimizer: torch.optim.Optimizer,
    clock: _Clock,
) -> None:
    samples, indices = _chosen(run, step)
    rng = augment_generator(step, seed=run.config.seed, rows=np.arange(len(indices)))
    with clock("reading"):
        samples.batch(indices)
    with clock("read and augment"):
        rows = samples.batch(indices, rng=rng)
    with clock("copy to tensors"):
        batch = to_tensors(_as_trained(run, samples, rows)).map(torch.clone)
    names = common_modalities(model, batch)
    for modality in names:
        tower = model.towers[modality]
        with clock(f"{modality} tower"):
            torch.autograd.backward(tower(batch[modality]).pooled.sum())
        if modality == VISION:
            pictures = batch[modality].values.flatten(0, 2)
            with clock("frames"):
                torch.autograd.backward(tower.frame(pictures).sum())
    optimizer.zero_grad()
    present = {m: batch[m].present for m in names}
    fusions = draw_fusions(model, present, config=run.config.loss)
    with clock("encode"):
        vectors = encode_rows(model, batch, modalities=names, fusions=fusions)
    leaf = vectors.detach().requires_grad_()
    with clock("loss"):
        objective = loss_of_vectors(
            model, leaf, batch.rows, present=present, fusions=fusions, config=run.config.loss
        )
        torch.autograd.backward(objective.total)
    with clock("encode"):
        torch.autograd.backward(vectors, leaf.grad)
    with clock("clipping"):
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.config.train.clip_norm)
    with clock("optimiser"):
        optimizer.step()


def _operators(run: PreparedRun, model: JointModel) -> list[dict[str, Any]]:
    """Returns the operators that take longest themselves, per step."""
    optimizer = _optimizer(run, model)
    model.train()
    batches = [to_tensors(run.batch_at(step)) for step in range(NUM_STAGE_STEPS)]
    _train_on(batches[0], run=run, model=model, optimizer=optimizer)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for batch in batches:
            _train_on(batch, run=run, model=model, optimizer=optimizer)
    found = sorted(profiler.key_averages(), key=lambda x: x.self_cpu_time_total, reverse=True)
    whole = sum(each.self_cpu_time_total for each in found)
    return [
        {
            "name": each.key,
            "ms": each.self_cpu_time_total / 1000 / NUM_STAGE_STEPS,
            "share": each.self_cpu_time_total / whole,
            "calls": each.count / NUM_STAGE_STEPS,
        }
        for each in found[:NUM_OPERATORS]
    ]


def _print_tables(
    speeds: dict[str, list[Speed]], stages: dict[str, float], operators: list[dict[str, Any]]
) -> None:
    print(f"{'loop':<8}{'samples/s':>11}{'computing':>11}{'waiting':>9}   of each repeat")
    for name, runs in speeds.items():
        waiting = median(each.waiting for each in runs)
        each_one = ", ".join(f"{each.samples_per_s:.0f}" for each in runs)
        print(
            f"{name:<8}{median(each.samples_per_s for each in runs):>11.1f}"
            f"{100 * (1 - waiting):>10.1f}%{100 * waiting:>8.1f}%   {each_one}"
        )
    pairs = zip(speeds["ours"], speeds["plain"], strict=True)
    ratio = median(ours.samples_per_s / plain.samples_per_s for ours, plain in pairs)
    print(f"ours / plain: {ratio:.2f}")
    beside = {"reading", "augmentation"}
    whole = sum(value for name, value in stages.items() if name not in beside)
    print(f"\n{'stage':<32}{'ms a step':>10}{'share':>8}")
    for name, value in sorted(stages.items(), key=lambda item: -item[1]):
        share = "beside" if name in beside else f"{100 * value / whole:.1f}%"
        print(f"{name:<32}{value:>10.1f}{share:>8}")
    print(f"{'whole step':<32}{whole:>10.1f}")
    print(f"\n{'operator':<44}{'ms a step':>10}{'share':>8}{'calls':>7}")
    for each in operators:
        print(
            f"{each['name'][:43]:<44}{each['ms']:>10.1f}{100 * each['share']:>7.1f}%"
            f"{each['calls']:>7.0f}"
        )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", maxsplit=1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
