"""Which form of each graph ships: the fastest here that passes the gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jointspace.batch import Embeddings
from jointspace.deploy.graph import FUSION, Graph
from jointspace.deploy.manifest import Engine
from jointspace.errors import GateError
from jointspace.export.bench import REFERENCE_ENGINE, GateBench
from jointspace.export.gate import Gate, Scores, direction_scores
from jointspace.export.variants import FP32, INT8, Variant

Precision = Literal["auto", "fp32", "int8"]
"""`auto` ships what is fastest here; the others force one, and pass the gate all the same."""

TOGETHER = "all graphs together"

_WORTH_IT = 0.95
"""A form must take at most this share of the time of float32 to be chosen in its place: below that
the difference is within what two measurements of one form differ by."""


@dataclass(frozen=True)
class Choice:
    """What ships.

    Attributes:
        variants: name of a graph -> its forms, float32 first.
        chosen: name of a graph -> the form that ships.
        engine: the fastest here for all of them.
        gates: every comparison that was made, in order; the last one is of what ships.
        reference: what float32 scores.
        rows: name of the scale -> test rows as they ship.
    """

    variants: Mapping[str, Sequence[Variant]]
    chosen: Mapping[str, Variant]
    engine: Engine
    gates: tuple[Gate, ...]
    reference: Scores
    rows: Mapping[str, Embeddings]

    @property
    def shipped(self) -> Scores:
        """What ships scores."""
        return direction_scores(self.rows)

    @property
    def refusals(self) -> tuple[str, ...]:
        """What the gate did not let pass."""
        return tuple(line for each in self.gates for line in each.refusals)

    def speed_json(self) -> dict[str, Any]:
        """Returns for each graph the engine that is fastest here and what every form takes."""
        told: dict[str, Any] = {}
        for name, forms in self.variants.items():
            chosen = self.chosen[name]
            told[name] = {
                "engine": min(chosen.ms, key=chosen.ms.__getitem__, default=self.engine),
                "forms": [
                    {
                        "precision": form.graph.precision,
                        "scheme": form.scheme,
                        "bytes": form.num_bytes,
                        "ms": dict(form.ms),
                        "shipped": form == chosen,
                    }
                    for form in forms
                ],
            }
        return told


def choose(
    variants: Mapping[str, Sequence[Variant]],
    bench: GateBench,
    *,
    precision: Precision = "auto",
    engines: Sequence[Engine] = (REFERENCE_ENGINE,),
) -> Choice:
    """Chooses engine and forms.

    Each form passes the gate alone, then all of them together: on the engine that is recommended,
    and on ONNX Runtime, which runs the bundle wherever the other is not installed. Where together
    they lose too much, the one that loses most alone goes back to float32, and so on.

    Args:
        variants: name of a graph -> its forms, float32 first.
        bench: the test rows.
        precision: `fp32` and `int8` force a form; a graph that cannot be quantised stays float32.
        engines: that the forms were timed with; ONNX Runtime is one of them.

    Returns:
        The choice.

    Raises:
        GateError: `int8` is forced, and the gate refuses it.
    """
    chooser = _Chooser(variants, bench, precision)
    options: list[tuple[float, Engine, dict[str, Variant]]] = []
    for engine in sorted(engines, key=chooser.least_ms):
        if options and chooser.least_ms(engine) >= min(each[0] for each in options):
            break
        chosen = chooser.chosen(engine)
        if chosen:
            options.append((_total_ms(chosen, engine), engine, chosen))
    _, engine, chosen = min(options, key=lambda each: each[0])
    if engine != REFERENCE_ENGINE:
        chosen = chooser.together(chosen, REFERENCE_ENGINE)
    graphs = {name: each.graph for name, each in chosen.items()}
    return Choice(
        variants=variants,
        chosen=chosen,
        engine=engine,
        gates=tuple(chooser.gates),
        reference=bench.scores,
        rows=bench.rows(graphs, engine=engine),
    )


class _Chooser:
    """Gates forms, each once per engine."""

    def __init__(
        self, variants: Mapping[str, Sequence[Variant]], bench: GateBench, precision: Precision
    ) -> None:
        self.gates: list[Gate] = []
        self._variants = variants
        self._bench = bench
        self._precision = precision
        self._alone: dict[str, Gate] = {}

    def least_ms(self, engine: Engine) -> float:
        """What all graphs would take if every form passed."""
        return sum(
            min(form.ms.get(engine, 0.0) for form in self._candidates(name, engine))
            for name in self._variants
            if not name.startswith(FUSION)
        )

    def chosen(self, engine: Engine) -> dict[str, Variant]:
        """Returns the fastest forms that pass, alone and together; none where float32 fails."""
        plain = {name: forms[0] for name, forms in self._variants.items()}
        if engine != REFERENCE_ENGINE and not self._gate(FP32, plain, engine).passed:
            return {}
        found = {name: self._fastest(name, engine) for name in self._variants}
        return self.together(found, engine)

    def together(self, chosen: Mapping[str, Variant], engine: Engine) -> dict[str, Variant]:
        """Takes forms back to float32 until all together pass."""
        kept = dict(chosen)
        while True:
            quantised = [name for name, each in kept.items() if each.scheme is not None]
            result = self._gate(TOGETHER, kept, engine)
            if result.passed or not quantised:
                return kept
            self._refuse_forced([result])
            worst = max(quantised, key=lambda name: self._alone[name].largest_loss)
            kept[worst] = self._variants[worst][0]

    def _fastest(self, name: str, engine: Engine) -> Variant:
        refused = []
        for form in self._candidates(name, engine):
            if form.scheme is None:
                return form
            result = self._gate(form.name, {name: form}, engine)
            self._alone[name] = result
            if result.passed:
                return form
            refused.append(result)
        self._refuse_forced(refused)
        return self._variants[name][0]

    def _candidates(self, name: str, engine: Engine) -> list[Variant]:
        """The forms of a graph that may ship, fastest first."""
        plain, *quantised = self._variants[name]
        if self._precision == FP32 or not quantised:
            return [plain]
        quantised.sort(key=lambda form: form.ms[engine])
        if self._precision == INT8:
            return quantised
        return [*(f for f in quantised if f.ms[engine] <= _WORTH_IT * plain.ms[engine]), plain]

    def _gate(self, name: str, changed: Mapping[str, Variant], engine: Engine) -> Gate:
        where = "" if engine == REFERENCE_ENGINE else f" on {engine}"
        graphs: dict[str, Graph] = {each: form.graph for each, form in changed.items()}
        result = self._bench.gate(f"{name}{where}", graphs, engine=engine)
        self.gates.append(result)
        return result

    def _refuse_forced(self, refused: Sequence[Gate]) -> None:
        if self._precision == INT8 and refused:
            lines = "; ".join(line for each in refused for line in each.refusals)
            raise GateError(
                f"the gate refuses --precision int8: {lines} (at most {refused[0].tolerance:g} may "
                "be lost); export with --precision auto or fp32"
            )


def _total_ms(chosen: Mapping[str, Variant], engine: Engine) -> float:
    return sum(
        form.ms.get(engine, 0.0) for name, form in chosen.items() if not name.startswith(FUSION)
    )
