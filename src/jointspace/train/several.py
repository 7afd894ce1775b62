"""A run of several data sets, or one that starts from another run, ready for its first step.

A step trains on rows of one data set. Pictures, actions and states of two robots are told apart by
which robot it is, so that a row of another robot is an answer which is wrong for the wrong reason;
and the rows of one data set need no padding to another's channels, cameras and rate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from jointspace.batch import Batch
from jointspace.config import RunConfig
from jointspace.data.embodiments import Embodiment
from jointspace.data.schema import Finding, SharedTexts
from jointspace.models.adapt import start_from_weights, train_adapters_alone
from jointspace.models.feature_cache import remember_texts
from jointspace.models.joint import JointModel
from jointspace.models.run_data import RunData
from jointspace.models.run_folder import (
    NewData,
    build_run_model,
    create_run_of_several,
    remove_stale,
)
from jointspace.train.mixing import mixture_steps
from jointspace.train.sampling import WHOLE, Share
from jointspace.train.setup import PreparedRun, num_first_steps
from jointspace.train.validation import Validation, combine


@dataclass(frozen=True)
class PreparedSeveral:
    """Everything that a run of several data sets needs, and nothing written yet.

    Attributes:
        config: of the run.
        folder: the run folder.
        exists: the folder already holds this run, which is continued.
        names: of the data sets, unique within the run.
        runs: of the data sets, each as if it were trained on alone.
        embodiments: of the run, in the order of their numbers.
        texts: of all data sets, numbered alike.
        earlier: data sets of the run that this one starts from.
        start: weights to start from, and how many embodiments they know; None for fresh ones.
        findings: what is wrong with the data sets, and how they were split.
    """

    config: RunConfig
    folder: Path
    exists: bool
    names: tuple[str, ...]
    runs: tuple[PreparedRun, ...]
    embodiments: tuple[Embodiment, ...]
    texts: SharedTexts
    earlier: tuple[RunData, ...]
    start: tuple[Mapping[str, Tensor], int] | None
    findings: tuple[Finding, ...]

    def new_model(self) -> JointModel:
        """Builds the model, on the processor: fresh weights, or those that the run starts from.

        Raises:
            ConfigError: the configuration does not fit the data.
            RunFolderError: the weights to start from are of another model.
            MissingExtraError: a tower needs a package that is not installed.
            StorageError: the cache of what a frozen text tower reads cannot be written.
        """
        trained = [each.preprocessor for each in self.runs]
        every = [*(each.preprocessor for each in self.earlier), *trained]
        first = {each.embodiment: each for each in reversed(every)}
        model = build_run_model(self.config, [first[number] for number in sorted(first)])
        settings = self.config.train
        if self.start is not None:
            weights, num_known = self.start
            start_from_weights(model, weights, num_known=num_known, source=settings.start_from)
        if settings.trainable == "adapters":
            train_adapters_alone(model, embodiments={each.embodiment for each in trained})
        remember_texts(model, trained[0].tokenizer, self.texts.instructions)
        return model

    def create(self) -> None:
        """Writes the run folder, unless it is there.

        Raises:
            StorageError: a file could not be written.
        """
        if self.exists:
            remove_stale(self.folder)
            return
        create_run_of_several(
            self.folder,
            config=self.config,
            embodiments=self.embodiments,
            texts=self.texts,
            earlier=self.earlier,
            data=[
                NewData(name, run.dataset, run.splits, run.preprocessor)
                for name, run in zip(self.names, self.runs, strict=True)
            ],
            findings=self.findings,
        )

    def batch_at(self, step: int, *, share: Share = WHOLE) -> Batch:
        """Reads the training batch of a step.

        Args:
            step: the step, from 0.
            share: which part of its rows.

        Returns:
            The same rows for the same arguments, whatever was asked for before.
        """
        places, before = self._order
        place = places[step]
        num_first = int((places[: num_first_steps(self.config.train)] == place).sum())
        return self.runs[place].batch_at(int(before[step]), share=share, num_first=num_first)

    @property
    def validate(self) -> Callable[[JointModel], Validation] | None:
        """Measures a model on every validation split; None where all of them are empty."""
        measures = {
            name: run.validate
            for name, run in zip(self.names, self.runs, strict=True)
            if run.validate is not None
        }
        if not measures:
            return None
        return lambda model: combine({name: each(model) for name, each in measures.items()})

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        weights = self.config.data.mixture_weights or (1.0,) * len(self.runs)
        return mixture_steps(weights, num_steps=self.config.train.num_steps)
