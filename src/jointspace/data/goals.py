"""What the goals of a data set are: named by it, or else its instructions."""

from collections import defaultdict
from collections.abc import Mapping

from jointspace.data.schema import Finding, RobotDataset


def goal_ids(dataset: RobotDataset) -> Mapping[str, int]:
    """Numbers the goals, so that paraphrases of one goal share an id.

    An instruction has the goal that its episodes name, or is its own goal where none of them names
    any. In a data set where an instruction occurs with two goals a text has no single right answer;
    there every instruction is its own goal.

    Args:
        dataset: all usable episodes: the ids hold within one data set.

    Returns:
        Instruction -> the place of its goal in `RobotDataset.goals`; its own place in
        `RobotDataset.instructions` where every instruction is its own goal.
    """
    named = _named_goals(dataset)
    if any(len(goals) > 1 for goals in named.values()):
        return {text: number for number, text in enumerate(dataset.instructions)}
    place = {goal: number for number, goal in enumerate(dataset.goals)}
    return {text: place[min(goals, default=text)] for text, goals in named.items()}


def goal_findings(dataset: RobotDataset) -> tuple[Finding, ...]:
    """Tells if goals are not used, since an instruction has two.

    Args:
        dataset: all usable episodes.

    Returns:
        At most one warning.
    """
    named = _named_goals(dataset)
    torn = sorted(text for text, goals in named.items() if len(goals) > 1)
    if not torn:
        return ()
    one, other = sorted(named[torn[0]])[:2]
    message = (
        f"{len(torn)} of {len(named)} instructions occur with more than one goal, as '{torn[0]}' "
        f"with '{one}' and '{other}'; the goals are not used, every instruction is its own goal"
    )
    return (Finding("warning", "goal", message),)


def _named_goals(dataset: RobotDataset) -> Mapping[str, set[str]]:
    """Returns for every instruction the goals that its episodes name."""
    named: dict[str, set[str]] = defaultdict(set)
    for episode in dataset.episodes:
        if episode.instruction:
            named[episode.instruction] |= {episode.goal} - {""}
    return named
