"""`jointspace bench`."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from jointspace.commands.arguments import Bench
from jointspace.commands.bench_plot import bench_plot
from jointspace.commands.bench_result import SHARED_PIPELINE, BenchResult, Entry
from jointspace.commands.bench_subject import Calls, Pipeline, Subject, open_subject
from jointspace.deploy.footprint import Footprint, measure_footprint
from jointspace.deploy.latency import measure_by_turns
from jointspace.deploy.stages import END_TO_END, SHARED
from jointspace.deploy.workload import Workload, make_workload
from jointspace.errors import InputError, JointspaceError
from jointspace.progress import progress_bar
from jointspace.storage import write_whole

_LONGER = 4
"""Times as long for the whole way: it is what counts, and its p99 needs many calls."""


def run(arguments: Bench) -> BenchResult:
    """Measures what embedding costs on this machine.

    Returns:
        The measurements.

    Raises:
        InputError: a batch size, number of threads or time is not positive, or the run does not
            belong to the bundle.
        BundleError: the bundle is not as it was written.
        RunFolderError: neither a bundle nor a run folder that can be used.
        ExportError: the model cannot be exported.
        MissingExtraError: torch, an engine, or matplotlib for the plot is not installed.
        StorageError: the plot cannot be written.
    """
    for name, values in (("batch", arguments.batch), ("threads", arguments.threads)):
        if not values or min(values) < 1:
            raise InputError(f"--{name} is {values}; wanted numbers of at least 1")
    if not arguments.seconds > 0:
        raise InputError(f"--seconds is {arguments.seconds}; wanted more than 0")
    with open_subject(
        arguments.model, run=arguments.run, robot=arguments.robot, compiled=arguments.compile
    ) as subject:
        notes: list[str] = []
        entries = _measure(subject, arguments, notes)
        footprints = _footprints(subject)
    if not subject.manifest.thresholds:
        notes.append("the bundle has no calibrated thresholds: decisions were timed, not made")
    result = BenchResult(arguments.model.name, tuple(entries), footprints, tuple(notes))
    if arguments.plot is None:
        return result
    write_whole(arguments.plot, bench_plot(entries, title=arguments.model.name))
    return replace(result, plot=arguments.plot)


def _measure(subject: Subject, arguments: Bench, notes: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    settings = [(t, b) for t in arguments.threads for b in arguments.batch]
    with progress_bar("measuring") as report:
        for number, (num_threads, batch) in enumerate(settings):
            work = make_workload(subject.preprocessor, batch=batch)
            opened: dict[str, Calls] = {}
            for pipeline in subject.pipelines:
                if pipeline.on_processor or num_threads == arguments.threads[0]:
                    calls = _opened(pipeline, work, num_threads, notes)
                    if calls:
                        opened[pipeline.name] = calls
            stages = list(dict.fromkeys(stage for calls in opened.values() for stage in calls))
            for place, stage in enumerate(stages):
                entries += [
                    Entry(name, num_threads, batch, stage, latency)
                    for name, latency in measure_by_turns(
                        _of_stage(opened, stage),
                        budget_s=arguments.seconds * (_LONGER if stage == END_TO_END else 1),
                    ).items()
                ]
                report(number * len(stages) + place + 1, len(settings) * len(stages))
    return entries


def _of_stage(opened: Mapping[str, Calls], stage: str) -> dict[str, Callable[[], object]]:
    """Returns the calls of a stage by pipeline; once for all where it needs no graph."""
    found = {name: calls[stage] for name, calls in opened.items() if stage in calls}
    if stage in SHARED:
        return {SHARED_PIPELINE: next(iter(found.values()))}
    return found


def _opened(pipeline: Pipeline, work: Workload, num_threads: int, notes: list[str]) -> Calls:
    """Opens a pipeline and calls every stage once; one that fails is left out with a note."""
    try:
        calls = pipeline.open(work, num_threads)
        for call in calls.values():
            call()
    except (JointspaceError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        note = f"{pipeline.name} is left out: {reason}"
        if note not in notes:
            notes.append(note)
        return {}
    return calls


def _footprints(subject: Subject) -> dict[str, Footprint]:
    return {
        pipeline.name: measure_footprint(subject.bundle, engine=pipeline.engine)
        for pipeline in subject.pipelines
        if pipeline.engine is not None and pipeline.on_processor
    }
