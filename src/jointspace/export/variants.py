"""The forms that a graph may ship in, and what each costs here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from jointspace.deploy.graph import Graph
from jointspace.deploy.latency import measure_by_turns
from jointspace.deploy.manifest import Engine
from jointspace.deploy.session import open_session
from jointspace.export.calibration import at_batch_1
from jointspace.export.quantise import Feeds, Scheme, quantise, schemes_of

FP32 = "fp32"
INT8 = "int8"


@dataclass(frozen=True)
class Variant:
    """A form of a graph.

    Attributes:
        graph: with the file and the precision of this form.
        scheme: how it became int8; None in float32.
        num_bytes: size of the file.
        ms: engine -> milliseconds of a call at batch 1 on this machine.
    """

    graph: Graph
    scheme: Scheme | None
    num_bytes: int
    ms: Mapping[Engine, float]

    @property
    def name(self) -> str:
        """What a refusal calls it, as `int8 vision`."""
        return f"{self.graph.precision} {self.graph.name}"


def make_variants(
    folder: Path,
    graphs: Sequence[Graph],
    feeds: Mapping[str, Sequence[Feeds]],
    *,
    engines: Sequence[Engine],
    int8: bool = True,
    num_threads: int = 1,
    budget_s: float = 0.5,
) -> dict[str, list[Variant]]:
    """Quantises every graph as it can be, and times each form beside its float32.

    Args:
        folder: of the float32 graphs; int8 files go beside them, and are to be removed or renamed.
        graphs: that the runtime uses.
        feeds: name of a graph -> training inputs, see `record_feeds`.
        engines: what to time with.
        int8: False leaves out the quantised forms.
        num_threads: that a call may use.
        budget_s: about how long one form is timed on one engine.

    Returns:
        Name of a graph -> its forms, float32 first.
    """
    found = {}
    for graph in graphs:
        forms: list[tuple[Graph, Scheme | None]] = [(graph, None)]
        for scheme in schemes_of(folder / graph.file) if int8 and feeds[graph.name] else ():
            file = f"{graph.file.removesuffix('.onnx')}.{scheme}.onnx"
            quantise(
                folder / graph.file, folder / file, scheme=scheme, calibration=feeds[graph.name]
            )
            forms.append((replace(graph, file=file, precision=INT8), scheme))
        ms = _timed(
            folder,
            forms,
            feeds[graph.name],
            engines=engines,
            num_threads=num_threads,
            budget_s=budget_s,
        )
        found[graph.name] = [
            Variant(form, scheme, (folder / form.file).stat().st_size, ms[form.file])
            for form, scheme in forms
        ]
    return found


def _timed(
    folder: Path,
    forms: Sequence[tuple[Graph, Scheme | None]],
    feeds: Sequence[Feeds],
    *,
    engines: Sequence[Engine],
    num_threads: int,
    budget_s: float,
) -> dict[str, dict[Engine, float]]:
    """Returns file -> engine -> milliseconds; no engine where no training row has the modality."""
    if not feeds:
        return {form.file: {} for form, _ in forms}
    one = at_batch_1(forms[0][0].name, feeds)
    calls = {}
    for form, _ in forms:
        wanted = [form.outputs[0].name]
        for engine in engines:
            session = open_session(folder, form, engine=engine, num_threads=num_threads)
            calls[form.file, engine] = partial(session.run, one, wanted)
    spent = measure_by_turns(calls, budget_s=budget_s * len(calls), fewest=15, most=300)
    return {
        form.file: {each: spent[form.file, each].p50_ms for each in engines} for form, _ in forms
    }
