import numpy as np

from jointspace.data.goals import goal_findings, goal_ids, other_wordings
from tests.data.memory_dataset import make_dataset, make_episode


def told(*pairs):
    """A data set of episodes with an instruction and a goal each."""
    return make_dataset(
        [make_episode(i, instruction=text, goal=goal) for i, (text, goal) in enumerate(pairs)]
    )


def test_paraphrases_of_one_goal_share_its_id():
    dataset = told(("grab it", "lift"), ("push it", "push"), ("pick it up", "lift"))
    assert dataset.goals == ("lift", "push")
    assert goal_ids(dataset) == {"grab it": 0, "push it": 1, "pick it up": 0}
    assert goal_findings(dataset) == ()


def test_an_instruction_whose_episodes_name_no_goal_is_its_own():
    dataset = told(("b", ""), ("a", ""), ("", ""))
    assert goal_ids(dataset) == {"a": 0, "b": 1}


def test_an_episode_that_names_no_goal_has_that_of_its_words():
    dataset = told(("grab it", "lift"), ("grab it", ""), ("touch it", ""))
    ids = goal_ids(dataset)
    assert ids == {"grab it": dataset.goals.index("lift"), "touch it": 2}
    assert goal_findings(dataset) == ()


def test_a_goal_without_words_is_nobodys():
    assert goal_ids(told(("", "lift"), ("push it", "push"))) == {"push it": 0}


def test_an_instruction_with_two_goals_makes_every_instruction_its_own_goal_and_is_told():
    dataset = told(("do it", "lift"), ("do it", "push"), ("grab it", "lift"), ("take it", "lift"))
    assert goal_ids(dataset) == {"do it": 0, "grab it": 1, "take it": 2}
    (finding,) = goal_findings(dataset)
    assert str(finding) == (
        "warning: goal: 1 of 3 instructions occur with more than one goal, as 'do it' with 'lift' "
        "and 'push'; the goals are not used, every instruction is its own goal"
    )


def test_other_wordings_are_those_of_the_goal_that_occur_among_the_rows():
    instruction = np.array([4, 0, 4, 2, 7, 0, -1, -1, 3])
    goal = np.array([1, 1, 1, 1, 5, 1, -1, 1, 5])
    assert other_wordings(instruction, goal) == {
        0: (2, 4),
        2: (0, 4),
        4: (0, 2),
        3: (7,),
        7: (3,),
    }
    assert other_wordings(np.array([1, 2, 1]), np.array([1, 2, 1])) == {}
