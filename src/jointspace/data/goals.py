"""What the goals of a data set are: named by it, or else its instructions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from jointspace.data.schema import Finding, RobotDataset, SharedTexts


def goal_ids(dataset: RobotDataset) -> Mapping[str, int]:
    """Numbers the goals, so that paraphrases of one goal share an id.

    An instruction has the goal that its episodes name, or is its own goal where none of them names
    any. In a data set where an instruction occurs with two goals a text has no single right answer;
    there every instruction is its own goal.

    Args:
        dataset: all usable episodes: the ids hold within one data set, or among all that share
            their texts.

    Returns:
        Instruction -> the place of its goal in `RobotDataset.goals`; its own place in
        `RobotDataset.instructions` where every instruction is its own goal.
    """
    names = goal_names(dataset)
    if dataset.shared is None and _is_torn(dataset):
        known = dataset.instructions
    else:
        known = (*dataset.goals, *sorted({*names.values()} - {*dataset.goals}))
    place = {goal: number for number, goal in enumerate(known)}
    return {text: place[name] for text, name in names.items()}


def goal_names(dataset: RobotDataset) -> Mapping[str, str]:
    """Names the goal of every instruction; see `goal_ids`.

    Args:
        dataset: all usable episodes.

    Returns:
        Instruction -> its goal; the instruction itself where it is its own goal.
    """
    torn = _is_torn(dataset)
    return {
        text: text if torn else min(goals, default=text)
        for text, goals in _named_goals(dataset).items()
    }


def share_texts(datasets: Sequence[RobotDataset]) -> SharedTexts:
    """Collects the texts of several data sets, so that equal ones get equal ids.

    Args:
        datasets: all usable episodes of each.

    Returns:
        What `RobotDataset.shared` of each of them should be.
    """
    return SharedTexts(
        tuple(sorted({text for each in datasets for text in each.instructions})),
        tuple(sorted({name for each in datasets for name in goal_names(each).values()})),
    )


def other_wordings(
    instruction: Int64[np.ndarray, " row"], goal: Int64[np.ndarray, " row"]
) -> Mapping[int, tuple[int, ...]]:
    """Lists for every instruction what else its goal is called.

    Args:
        instruction: id of each row, -1 where it has none.
        goal: id of each row.

    Returns:
        Instruction id -> the ids of all other instructions of its goal that occur among the rows,
        ascending; only for instructions that have any.
    """
    wordings: dict[int, set[int]] = defaultdict(set)
    for text, aim in set(zip(instruction.tolist(), goal.tolist(), strict=True)):
        if text >= 0:
            wordings[aim].add(text)
    return {
        text: tuple(sorted(texts - {text}))
        for texts in wordings.values()
        if len(texts) > 1
        for text in texts
    }


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


def _is_torn(dataset: RobotDataset) -> bool:
    """Says whether an instruction occurs with two goals."""
    return any(len(goals) > 1 for goals in _named_goals(dataset).values())


def _named_goals(dataset: RobotDataset) -> Mapping[str, set[str]]:
    """Returns for every instruction the goals that its episodes name."""
    named: dict[str, set[str]] = defaultdict(set)
    for episode in dataset.episodes:
        if episode.instruction:
            named[episode.instruction] |= {episode.goal} - {""}
    return named
