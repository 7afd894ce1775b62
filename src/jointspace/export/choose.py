"""Which form of each graph ships, and which engine is to run it: the fastest that passes."""

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
"""What is chosen in the place of something simpler takes at most this share of its time: an int8
form of float32's, a second engine of what ONNX Runtime alone takes. Below that the difference is
within what two measurements of one form differ by."""


@dataclass(frozen=True)
class Choice:
    """What ships.

    Attributes:
        variants: name of a graph -> its forms, float32 first.
        chosen: name of a graph -> the form that ships.
        engines: name of a graph -> the engine that runs this form fastest here.
        gates: every comparison that was made, each once, in order.
        reference: what float32 scores.
        rows: name of the scale -> test rows as they ship.
    """

    variants: Mapping[str, Sequence[Variant]]
    chosen: Mapping[str, Variant]
    engines: Mapping[str, Engine]
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

    def milliseconds(self, name: str) -> tuple[float | None, float | None]:
        """Returns what a graph takes in float32 on ONNX Runtime, and as it ships on its engine."""
        plain, shipped = self.variants[name][0], self.chosen[name]
        return plain.ms.get(REFERENCE_ENGINE), shipped.ms.get(self.engines[name])

    def speed_json(self) -> dict[str, Any]:
        """Returns for each graph the engine that is to run it and what every form takes."""
        return {
            name: {
                "engine": self.engines[name],
                "forms": [
                    {
                        "precision": form.graph.precision,
                        "scheme": form.scheme,
                        "bytes": form.num_bytes,
                        "ms": dict(form.ms),
                        "shipped": form == self.chosen[name],
                    }
                    for form in forms
                ],
            }
            for name, forms in self.variants.items()
        }


@dataclass(frozen=True)
class _Option:
    """A form of a graph on an engine."""

    form: Variant
    engine: Engine

    @property
    def ms(self) -> float:
        return self.form.ms.get(self.engine, 0.0)

    @property
    def is_plain(self) -> bool:
        return self.form.scheme is None and self.engine == REFERENCE_ENGINE


_Plan = dict[str, _Option]


def choose(
    variants: Mapping[str, Sequence[Variant]],
    bench: GateBench,
    *,
    precision: Precision = "auto",
    engines: Sequence[Engine] = (REFERENCE_ENGINE,),
) -> Choice:
    """Chooses a form and an engine for each graph.

    Each form passes the gate alone on its engine, then all of them together: on the engines that
    are recommended, and on ONNX Runtime, which runs the bundle wherever the other is not installed.
    Where together they lose too much, the one that loses most alone goes back to float32 on ONNX
    Runtime, and so on.

    A second engine costs memory and time to load, so that it is recommended only where all graphs
    together gain; fused queries, which are asked rarely, do not count in that.

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
    plan: _Plan = {}
    if len(engines) > 1:
        plan = chooser.everywhere(chooser.plan(engines))
    alone = chooser.plan((REFERENCE_ENGINE,))
    if not plan or _total_ms(plan) > _WORTH_IT * _total_ms(alone):
        plan = alone
    return Choice(
        variants=variants,
        chosen={name: each.form for name, each in plan.items()},
        engines={name: each.engine for name, each in plan.items()},
        gates=tuple(chooser.gates),
        reference=bench.scores,
        rows=bench.rows(
            {name: each.form.graph for name, each in plan.items()},
            engines={name: each.engine for name, each in plan.items()},
        ),
    )


class _Chooser:
    """Gates forms on engines, each once."""

    def __init__(
        self, variants: Mapping[str, Sequence[Variant]], bench: GateBench, precision: Precision
    ) -> None:
        self.gates: list[Gate] = []
        self._variants = variants
        self._bench = bench
        self._precision = precision
        self._known: dict[tuple[str, tuple[tuple[str, Engine], ...]], Gate] = {}

    def plan(self, engines: Sequence[Engine]) -> _Plan:
        """Returns the fastest that passes, alone and together."""
        return self.together({name: self._fastest(name, engines) for name in self._variants})

    def together(self, plan: _Plan) -> _Plan:
        """Takes graphs back to float32 on ONNX Runtime until all together pass."""
        kept = dict(plan)
        while True:
            changed = [name for name, each in kept.items() if not each.is_plain]
            result = self._gate(TOGETHER, kept)
            if result.passed or not changed:
                return kept
            self._refuse_forced([result])
            worst = max(changed, key=lambda name: self._loss_alone(name, kept[name]))
            kept[worst] = self._plain(worst)

    def everywhere(self, plan: _Plan) -> _Plan:
        """Takes back what does not pass where ONNX Runtime alone is installed."""
        while True:
            fallback = {name: _Option(each.form, REFERENCE_ENGINE) for name, each in plan.items()}
            passed = self.together(fallback)
            lost = [name for name, each in passed.items() if each.form != plan[name].form]
            if not lost:
                return plan
            plan = self.together({**plan, **{name: self._plain(name) for name in lost}})

    def _plain(self, name: str) -> _Option:
        return _Option(self._variants[name][0], REFERENCE_ENGINE)

    def _loss_alone(self, name: str, option: _Option) -> float:
        return self._gate(option.form.name, {name: option}).largest_loss

    def _fastest(self, name: str, engines: Sequence[Engine]) -> _Option:
        refused = []
        for option in self._candidates(name, engines):
            if option.is_plain:
                return option
            result = self._gate(option.form.name, {name: option})
            if result.passed:
                return option
            refused.append(result)
        self._refuse_forced(refused)
        return self._plain(name)

    def _candidates(self, name: str, engines: Sequence[Engine]) -> list[_Option]:
        """What of a graph may ship, fastest first; in doubt on ONNX Runtime."""
        plain, *quantised = self._variants[name]
        if self._precision == FP32 or not quantised:
            forms = [plain]
        elif self._precision == INT8:
            forms = quantised
        else:
            forms = [plain, *quantised]
        known = [_Option(form, engine) for form in forms for engine in engines if form.ms]
        simplest = self._plain(name)
        if simplest not in known:
            return sorted(known, key=lambda each: each.ms) or [simplest]
        worth = [each for each in known if each.ms <= _WORTH_IT * simplest.ms]
        return [*sorted(worth, key=lambda each: each.ms), simplest]

    def _gate(self, name: str, plan: _Plan) -> Gate:
        key = name, tuple((each.form.graph.file, each.engine) for each in plan.values())
        if key not in self._known:
            others = {each.engine for each in plan.values()} - {REFERENCE_ENGINE}
            where = f" on {', '.join(sorted(others))}" if others else ""
            graphs: dict[str, Graph] = {each: option.form.graph for each, option in plan.items()}
            on = {each: option.engine for each, option in plan.items()}
            self._known[key] = self._bench.gate(f"{name}{where}", graphs, engines=on)
            self.gates.append(self._known[key])
        return self._known[key]

    def _refuse_forced(self, refused: Sequence[Gate]) -> None:
        if self._precision == INT8 and refused:
            lines = "; ".join(line for each in refused for line in each.refusals)
            raise GateError(
                f"the gate refuses --precision int8: {lines} (at most {refused[0].tolerance:g} may "
                "be lost); export with --precision auto or fp32"
            )


def _total_ms(plan: _Plan) -> float:
    return sum(each.ms for name, each in plan.items() if not name.startswith(FUSION))
