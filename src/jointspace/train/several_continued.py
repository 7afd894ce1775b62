"""Continues a run of several data sets: all but the rows is read from its folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jointspace.config import RunConfig
from jointspace.data.embodiments import DataSource, Embodiment
from jointspace.data.schema import RobotDataset, SharedTexts
from jointspace.errors import ConfigError
from jointspace.models.run_data import embodiment_preprocessors, read_run_data
from jointspace.models.run_folder import CHECKPOINT_FOLDER, SEVERAL_VERSION, read_run
from jointspace.train.base_run import open_base_run
from jointspace.train.checkpointing import checkpoints
from jointspace.train.narrowing import narrowed
from jointspace.train.setup import prepare_rows, read_pictures
from jointspace.train.several import PreparedSeveral


def continue_several(
    config: RunConfig,
    sources: Sequence[DataSource],
    datasets: Sequence[RobotDataset],
    *,
    out: Path,
    show_progress: bool,
) -> PreparedSeveral:
    """Reads from the run folder what the data sets were split and fitted into.

    Args:
        config: of the run.
        sources: the data sets, as the user names them.
        datasets: the same, opened.
        out: the run folder.
        show_progress: tell on standard error how far decoding is.

    Returns:
        The run.

    Raises:
        ConfigError: the run is of other data sets.
        DataError: a data set has other episodes than those that were split.
        RunFolderError: a file of the run, or of the run that it started from, cannot be read.
    """
    about = read_run(out)
    stored = read_run_data(out, about)
    trained = [each for each in stored if each.trained]
    same = about["version"] == SEVERAL_VERSION and len(trained) == len(sources)
    if not same or any(
        source.embodiment not in ("", each.embodiment.name)
        for source, each in zip(sources, trained, strict=True)
    ):
        was = " ".join(f"--data {each.embodiment.name}={each.path}" for each in trained)
        raise ConfigError(
            f"{out}: the run is of other data sets; to continue it give those that it was trained "
            f"with, in their order: {was}"
        )
    runs = []
    for dataset, own in zip(datasets, trained, strict=True):
        own_config = narrowed(config, dataset.info, sensors=own.preprocessor.sensors)
        shared = replace(dataset, shared=own.texts)
        pictures = read_pictures(shared, own_config, show_progress=show_progress)
        splits = own.splits(pictures[0], to_train=True)
        runs.append(
            prepare_rows(
                own_config,
                folder=out,
                exists=True,
                pictures=pictures,
                preprocessor=own.preprocessor,
                splits=splits,
            )
        )
    start = None
    if config.train.start_from and not checkpoints(out / CHECKPOINT_FOLDER):
        base = open_base_run(config)
        start = (base.model.state_dict(), len(embodiment_preprocessors(base.data)))
    return PreparedSeveral(
        config=config,
        folder=out,
        exists=True,
        names=tuple(each.name for each in trained),
        runs=tuple(runs),
        embodiments=tuple(Embodiment.from_json(each) for each in about["embodiments"]),
        texts=SharedTexts(tuple(about["instructions"]), tuple(about["goals"])),
        earlier=tuple(each for each in stored if not each.trained),
        start=start,
        findings=(),
    )
