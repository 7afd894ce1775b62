import json

from jointspace.cli import main

POLICY = """
class Down:
    def reset(self, observation, instruction):
        assert instruction
        assert observation["pictures"]["front"].shape == (32, 32, 3)

    def act(self, observation, instruction):
        return [0, 0, -0.01, 0, 0, 0, 0]


class Broken(Down):
    def act(self, observation, instruction):
        return [float("nan")] * 7
"""


def test_a_policy_of_ones_own_stands_beside_floors_and_ceiling(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(POLICY)
    spec = f"{tmp_path / 'mine.py'}:Down"
    words = ["rollout", spec, "--episodes", "1", "--cameras", "front", "--px", "32", "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["policies"]) == ["no-op", "random", "other-goal", "expert", spec]
    assert printed["policies"]["no-op"]["overall"]["num_successes"] == 0
    assert printed["policies"]["expert"]["overall"]["num_successes"] >= 7


def test_a_broken_policy_is_named(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(POLICY)
    words = ["rollout", f"{tmp_path / 'mine.py'}:Broken", "--episodes", "1", "--no-references"]
    assert main([*words, "--cameras", "front", "--px", "32"]) == 2
    printed = capsys.readouterr().err
    assert "Broken" in printed
    assert "expected 7 finite numbers" in printed
    assert main(["rollout", "exprt"]) == 2
    assert "expert" in capsys.readouterr().err
