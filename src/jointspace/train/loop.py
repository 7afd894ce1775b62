"""The training loop: `train` sets a run up from files, `run_steps` runs it."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from jointspace.batch import Batch
from jointspace.config import RunConfig, TrainConfig, check_config
from jointspace.data.embodiments import DataSource
from jointspace.data.schema import Finding
from jointspace.errors import JointspaceError
from jointspace.models.checkpoint import save_weights
from jointspace.models.joint import JointModel
from jointspace.models.run_folder import (
    CHECKPOINT_FOLDER,
    LOG_FILE,
    TENSORBOARD_FOLDER,
    WEIGHTS_FILE,
)
from jointspace.train.checkpointing import (
    TrainState,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from jointspace.train.devices import autocast, choose_device, repeatable
from jointspace.train.distributed import ALONE, Processes, processes
from jointspace.train.gather import share_weights
from jointspace.train.gradients import step_gradients
from jointspace.train.interruption import interruption
from jointspace.train.launch import read_place, threads_per_process
from jointspace.train.logs import Log, SilentLog, TrainLog
from jointspace.train.objective import Objective
from jointspace.train.optim import build_optimizer, learning_rate_factor, set_learning_rate
from jointspace.train.prepare import prepare
from jointspace.train.sampling import fusion_generator, torch_seed, weights_seed
from jointspace.train.setup import PreparedRun
from jointspace.train.several import PreparedSeveral
from jointspace.train.validation import Validation

LOG_EVERY = 10
"""Steps between records of the loss."""


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Attributes:
        folder: the run folder.
        num_steps: steps done.
        best_step: steps done when the weights in the folder were taken.
        best_worst: value of the worst direction then, as `validation.Validation` defines it; None
            without a validation split.
        best_mean: mean over the directions then; None without a validation split.
        stopped_early: `train.patience` ended the run before `train.num_steps`.
        findings: what was wrong with the data set.
    """

    folder: Path
    num_steps: int
    best_step: int
    best_worst: float | None
    best_mean: float | None
    stopped_early: bool
    findings: tuple[Finding, ...]


def train(
    config: RunConfig,
    *,
    data: Path | Sequence[DataSource],
    out: Path,
    resume: bool = False,
    show_progress: bool = True,
) -> TrainResult:
    """Trains a joint space on one or several robot data sets and writes a run folder.

    The folder holds the weights that were best on the validation split, the configuration, the
    preprocessing, the splits, a log, and checkpoints. Nothing is written there before the data set
    has been read and the model built. Where `torchrun` started several processes, they train
    together, and come to what one process would.

    Args:
        config: of the run.
        data: folder of the data set, or several data sets.
        out: the run folder; must not exist, or be empty, unless `resume` is set.
        resume: continue from the last checkpoint, bit by bit as if nothing had happened, or begin
            where there is none yet. The configuration must be that of the run.
        show_progress: tell on standard error how far it is.

    Returns:
        What the run came to.

    Raises:
        ConfigError: a value is impossible, or differs from the run that is to be continued.
        DataError: the data set cannot be used.
        InputError: the data set is too small for the splits or the windows.
        RunFolderError: the folder already holds something, or something else than this run.
        StorageError: the disk is full; the last checkpoint is untouched.
        MissingExtraError: a package of an extra is not installed.
        JointspaceError: the loss stopped being a finite number.
        WorkerError: this is one of several processes, and another one died.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written after the step that it met.
        SystemExit: this is one of several processes, and another one tells what went wrong.
    """
    check_config(config)
    place = read_place()
    device = choose_device(config.train.device, place=place)
    num_threads = threads_per_process(place, configured=config.train.num_threads)
    with (
        repeatable(device, num_threads=num_threads),
        processes(place, device) as team,
    ):

        def begin(
            *, resume: bool, show_progress: bool
        ) -> tuple[PreparedRun | PreparedSeveral, JointModel]:
            run = prepare(config, data=data, out=out, resume=resume, show_progress=show_progress)
            torch.manual_seed(weights_seed(seed=config.seed))
            return run, run.new_model().to(device)

        if team.is_main:
            run, model = begin(resume=resume, show_progress=show_progress)
            run.create()
        # The others wait until pictures are decoded and the folder is written, and read both.
        team.wait()
        if not team.is_main:
            run, model = begin(resume=True, show_progress=False)
        if team.are_many:
            share_weights(model)
        state = run_steps(
            model,
            config=config,
            folder=out,
            batch_at=partial(run.batch_at, share=team.share),
            validate=run.validate,
            show_progress=show_progress,
            processes=team,
        )
    validated = run.validate is not None
    return TrainResult(
        folder=out,
        num_steps=state.step,
        best_step=state.best_step,
        best_worst=state.best_worst if validated else None,
        best_mean=state.best_mean if validated else None,
        stopped_early=state.step < config.train.num_steps,
        findings=run.findings,
    )


def run_steps(
    model: JointModel,
    *,
    config: RunConfig,
    folder: Path,
    batch_at: Callable[[int], Batch],
    validate: Callable[[JointModel], Validation] | None,
    show_progress: bool = False,
    processes: Processes = ALONE,
) -> TrainState:
    """Trains a model, from the last checkpoint in the folder or from the start.

    Args:
        model: on its device; its weights when there is no checkpoint are the initial ones.
        config: `seed`, `loss` and `train` are read.
        folder: the run folder, which must exist.
        batch_at: step -> NumPy batch, equal whenever it is called; called from another thread. Of
            several processes each is given its own rows.
        validate: measures the model; None keeps the latest weights instead of the best.
        show_progress: tell on standard error how far it is.
        processes: which of several processes this one is; rank 0 alone validates and writes.

    Returns:
        Where the run stands at its end.

    Raises:
        StorageError: something could not be written.
        RunFolderError: the checkpoint is of another model or version.
        JointspaceError: the loss stopped being a finite number.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    settings = config.train
    optimizer = build_optimizer(
        model,
        name=settings.optimizer,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        beta1=settings.beta1,
        beta2=settings.beta2,
        pretrained_factor=settings.pretrained_factor,
        gate_factor=settings.gate_factor,
    )
    state = TrainState()
    earlier = checkpoints(folder / CHECKPOINT_FOLDER)
    if earlier:
        state = load_checkpoint(earlier[-1], model=model, optimizer=optimizer)
    if state.done:
        return state
    log: Log = SilentLog()
    if processes.is_main:
        log = TrainLog(
            folder / LOG_FILE,
            tensorboard_folder=folder / TENSORBOARD_FOLDER,
            num_steps=settings.num_steps,
            first_step=state.step,
            show_progress=show_progress,
        )
    steps = _Steps(
        model,
        optimizer=optimizer,
        config=config,
        folder=folder,
        validate=validate,
        log=log,
        state=state,
        processes=processes,
    )
    try:
        with (
            interruption(patient=processes.are_many) as interrupted,
            ThreadPoolExecutor(max_workers=1) as loader,
        ):
            upcoming = loader.submit(batch_at, state.step)
            while not steps.state.done:
                asked = time.monotonic()
                batch = upcoming.result()
                steps.waited_s += time.monotonic() - asked
                if steps.state.step + 1 < settings.num_steps:
                    upcoming = loader.submit(batch_at, steps.state.step + 1)
                steps.take(batch)
                if processes.any(of=interrupted.is_set()) and not steps.state.done:
                    steps.checkpoint()
                    log.say(f"interrupted after step {steps.state.step}; --resume continues here")
                    raise KeyboardInterrupt
    finally:
        log.close()
    return steps.state


class _Steps:
    """The state of a running training, and what one step does to it.

    Attributes:
        state: where the run stands.
        waited_s: how long the steps waited for their rows so far.
    """

    def __init__(
        self,
        model: JointModel,
        *,
        optimizer: torch.optim.Optimizer,
        config: RunConfig,
        folder: Path,
        validate: Callable[[JointModel], Validation] | None,
        log: Log,
        state: TrainState,
        processes: Processes,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._config = config
        self._folder = folder
        self._validate = validate
        self._log = log
        self._device = next(model.parameters()).device
        self._started = time.monotonic()
        self._processes = processes
        self.state = state
        self.waited_s = 0.0

    def take(self, batch: Batch) -> None:
        """Does one step, and at its turn an evaluation."""
        step, settings = self.state.step, self._config.train
        learning_rate = settings.learning_rate * learning_rate_factor(
            step, num_steps=settings.num_steps, warmup_steps=settings.warmup_steps
        )
        set_learning_rate(self._optimizer, learning_rate)
        seed, rank = self._config.seed, self._processes.place.rank
        torch.manual_seed(torch_seed(step, seed=seed, rank=rank))
        self._model.train()
        self._optimizer.zero_grad(set_to_none=True)
        objective = step_gradients(
            self._model,
            batch,
            config=self._config.loss,
            generator=fusion_generator(step, seed=seed),
            autocast=partial(autocast, settings.precision, self._device),
            chunk_rows=settings.chunk_rows,
            processes=self._processes,
        )
        gradient_norm = torch.nn.utils.clip_grad_norm_(
            self._model.parameters(), settings.clip_norm
        ).item()
        loss = objective.total.item()
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise JointspaceError(
                f"step {step + 1}: the loss is {loss:g} with a gradient of norm {gradient_norm:g}; "
                "lower train.learning_rate, or set train.precision = 'fp32'"
            )
        self._optimizer.step()
        self.state = replace(self.state, step=step + 1)
        self._log.advance(step + 1, loss=loss)
        if (step + 1) % LOG_EVERY == 0 or step + 1 == settings.num_steps:
            self._log.write(self._record(objective, learning_rate, gradient_norm))
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.num_steps:
            self._evaluate(settings)

    def checkpoint(self) -> None:
        """Writes a checkpoint of this very step; every process may be asked, rank 0 writes."""
        if not self._processes.is_main:
            return
        save_checkpoint(
            self._folder / CHECKPOINT_FOLDER,
            model=self._model,
            optimizer=self._optimizer,
            state=self.state,
        )

    def _evaluate(self, settings: TrainConfig) -> None:
        """Measures the model, keeps it if it is the best so far, and writes a checkpoint."""
        self.state = self._processes.from_main(lambda: self._judged(settings))
        self.checkpoint()

    def _judged(self, settings: TrainConfig) -> TrainState:
        """Returns where the run stands once the model is measured; writes it if it is the best."""
        state, better = self.state, True
        if self._validate is not None:
            result = self._validate(self._model)
            best = (state.best_worst, state.best_mean)
            better = state.best_step < 0 or (result.worst, result.mean) > best
            state = replace(state, num_worse=0 if better else state.num_worse + 1)
            if better:
                state = replace(state, best_worst=result.worst, best_mean=result.mean)
            self._log.write({"kind": "validation", "step": state.step, **asdict(result)})
            self._log.say(
                f"step {state.step}: worst direction {result.worst:.3f} "
                f"({result.worst_direction}), mean {result.mean:.3f}{' *' if better else ''}"
            )
        if better:
            state = replace(state, best_step=state.step)
            save_weights(
                self._model, self._folder / WEIGHTS_FILE, metadata={"step": str(state.step)}
            )
        out_of_patience = 0 < settings.patience <= state.num_worse
        return replace(state, done=out_of_patience or state.step == settings.num_steps)

    def _record(
        self, objective: Objective, learning_rate: float, gradient_norm: float
    ) -> dict[str, object]:
        return {
            "kind": "train",
            "step": self.state.step,
            "loss": objective.total.item(),
            "learning_rate": learning_rate,
            "gradient_norm": gradient_norm,
            "elapsed_s": round(time.monotonic() - self._started, 3),
            "waited_s": round(self.waited_s, 3),
            "pairs": {str(d): loss.item() for d, loss in objective.pairs.items()},
            "fused": {str(d): loss.item() for d, loss in objective.fused.items()},
            "logit_scale": {
                f"{d.query}-{d.target}": self._model.logit_scale(d.query, d.target).item()
                for d in objective.pairs
                if d.query < d.target
            },
        }
