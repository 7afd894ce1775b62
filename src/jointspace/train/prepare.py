"""From the data sets that a user names to a run that is ready: of one data set or of several."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jointspace.config import RunConfig
from jointspace.data.copies import copies_between
from jointspace.data.embodiments import DataSource
from jointspace.data.open import open_dataset
from jointspace.errors import ConfigError
from jointspace.train.narrowing import unrecorded
from jointspace.train.run_check import check_folder
from jointspace.train.setup import PreparedRun, prepare_run
from jointspace.train.several import PreparedSeveral
from jointspace.train.several_continued import continue_several
from jointspace.train.several_fresh import begin_several


def prepare(
    config: RunConfig,
    *,
    data: Path | Sequence[DataSource],
    out: Path,
    resume: bool,
    show_progress: bool,
) -> PreparedRun | PreparedSeveral:
    """Prepares a run of one data set or of several.

    Args:
        config: of the run.
        data: folder of the data set, or the data sets.
        out: the run folder.
        resume: continue a run that is there.
        show_progress: tell on standard error how far decoding is.

    Returns:
        The run. One data set that starts from no other run makes the plain kind of run folder.

    Raises:
        ConfigError: there is no data set, or not one weight for each; otherwise as `prepare_run`
            and `prepare_several`.
    """
    sources = [DataSource(data)] if isinstance(data, Path) else list(data)
    weights = config.data.mixture_weights
    if not sources:
        raise ConfigError("no data set to train on: name one with --data")
    if weights and len(weights) != len(sources):
        raise ConfigError(
            f"data.mixture_weights: got {len(weights)} for {len(sources)} data sets; expected one "
            "for each --data, in their order, or none"
        )
    if len(sources) == 1 and not config.train.start_from:
        (source,) = sources
        return prepare_run(
            config,
            data=source.path,
            out=out,
            resume=resume,
            show_progress=show_progress,
            embodiment=source.embodiment,
        )
    return prepare_several(config, sources, out=out, resume=resume, show_progress=show_progress)


def prepare_several(
    config: RunConfig,
    sources: Sequence[DataSource],
    *,
    out: Path,
    resume: bool,
    show_progress: bool,
) -> PreparedSeveral:
    """Reads the data sets, finds out which are of one robot, splits them, fits the preprocessing.

    Args:
        config: of the run.
        sources: the data sets.
        out: the run folder.
        resume: continue a run that is there.
        show_progress: tell on standard error how far decoding is.

    Returns:
        The run.

    Raises:
        ConfigError: the run in the folder has another configuration or other data sets; data sets
            of one name are of different robots; or the run to start from has another model, or has
            seen a robot whose adapter alone is to be trained.
        DataError: a data set cannot be used.
        InputError: two data sets are the same one; a data set is too small for the splits; or none
            has a camera or sensor that is asked for.
        RunFolderError: a folder holds something that must not be overwritten, or no run to start
            from.
    """
    exists = check_folder(out, config, resume=resume)
    datasets = [open_dataset(source.path) for source in sources]
    copies = copies_between(datasets)
    if exists:
        run = continue_several(config, sources, datasets, out=out, show_progress=show_progress)
    else:
        run = begin_several(config, sources, datasets, out=out, show_progress=show_progress)
    found = [
        replace(finding, where=f"{name}: {finding.where}")
        for name, each in zip(run.names, run.runs, strict=True)
        for finding in (*each.findings, *unrecorded(config, each.config))
    ]
    return replace(run, findings=(*found, *run.findings, *copies))
