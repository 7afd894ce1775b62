"""Which fused queries there are, and what each of them should find."""

from dataclasses import dataclass

from jointspace.batch import TEXT, VISION, Modality, fused_name


@dataclass(frozen=True)
class FusedQuery:
    """A query made of several modalities, and the modality that it should retrieve."""

    members: tuple[Modality, ...]
    target: Modality

    @property
    def name(self) -> Modality:
        """The name of the query, such as `vision+text`."""
        return fused_name(self.members)


def fused_queries_of(modalities: tuple[Modality, ...]) -> tuple[FusedQuery, ...]:
    """Returns the fused queries that a model of these modalities is trained for.

    Vision, text and each further modality: every two of the three retrieve the third. And all that
    the robot itself measures and does (action, state, ...) together retrieves text and vision:
    neither of them alone tells what a whole trajectory was for.
    """
    queries = []
    for further in (m for m in modalities if m not in {VISION, TEXT}):
        triple = tuple(m for m in (VISION, TEXT, further) if m in modalities)
        for target in reversed(triple):
            members = tuple(m for m in triple if m != target)
            if len(members) > 1:
                queries.append(FusedQuery(members, target))
    robot = tuple(m for m in modalities if m not in {VISION, TEXT})
    if len(robot) > 1:
        queries += [FusedQuery(robot, target) for target in (TEXT, VISION) if target in modalities]
    return tuple(queries)
