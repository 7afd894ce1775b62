"""The command line: its contract with scripts and its manners with people."""

import errno
import json
import runpy
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from jointspace import __version__, cli
from jointspace.commands import arguments
from jointspace.errors import DataError, InputError, WorkerError


@dataclass(frozen=True)
class StandIn:
    """An outcome with a number that JSON cannot hold."""

    def render(self):
        return "3 episodes"

    def to_json(self):
        return {"episodes": 3, "scores": [0.5, float("nan")]}


@pytest.fixture
def command(monkeypatch):
    """Replaces the module of every command by a stand-in whose `run` is what the test sets."""
    module = SimpleNamespace(run=lambda _: StandIn())
    monkeypatch.setattr(cli.importlib, "import_module", lambda _: module)
    return module


def raiser(error):
    def run(_):
        raise error

    return run


def one_line(captured):
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


def test_help_imports_neither_torch_nor_other_heavy_packages():
    script = (
        "import sys\n"
        "from jointspace.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        "    heavy = {'torch', 'matplotlib', 'pyarrow', 'numpy', 'av', 'transformers', 'rich'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_version_is_printed(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"jointspace {__version__}\n"


def test_every_command_has_a_module_with_a_run_function():
    script = (
        "import importlib\n"
        "from jointspace.cli import COMMANDS\n"
        "for name in COMMANDS:\n"
        "    module = 'jointspace.commands.' + name.replace(' ', '_')\n"
        "    assert callable(importlib.import_module(module).run)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_json_prints_exactly_one_object_and_nothing_else_on_standard_output(command, capsys):
    def run(_):
        sys.stdout.write("a library speaks\n")
        return StandIn()

    command.run = run
    assert cli.main(["inspect", "somewhere", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"episodes": 3, "scores": [0.5, None]}
    assert captured.out.count("\n") == 1
    assert captured.err == "a library speaks\n"


def test_without_json_the_outcome_is_rendered_for_a_reader(command, capsys):
    assert cli.main(["inspect", "somewhere"]) == 0
    assert capsys.readouterr().out == "3 episodes\n"


def test_a_mistake_of_the_user_is_one_line_and_exit_code_2(command, capsys, tmp_path):
    command.run = raiser(DataError(tmp_path / "info.json", "is empty\nand has two lines"))
    assert cli.main(["inspect", "somewhere", "--json"]) == 2
    expected = f"jointspace: error: {tmp_path / 'info.json'}: is empty and has two lines"
    assert one_line(capsys.readouterr()) == expected


def test_of_several_processes_the_first_speaks(command, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        command.run = lambda _: StandIn()
        assert cli.main(["inspect", "somewhere"]) == 0
        command.run = raiser(DataError(tmp_path, "is empty"))
        assert cli.main(["inspect", "somewhere"]) == 2
        command.run = raiser(KeyboardInterrupt())
        assert cli.main(["inspect", "somewhere"]) == 2
        told.append(capsys.readouterr())
    assert (told[0].out, told[0].err.count("\n")) == ("3 episodes\n", 2)
    assert (told[1].out, told[1].err) == ("", "")


def test_of_several_processes_any_speaks_where_it_alone_knows(command, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    command.run = raiser(WorkerError("rank 0 died"))
    assert cli.main(["inspect", "somewhere"]) == 2
    assert one_line(capsys.readouterr()) == "jointspace: error: rank 0 died"


def test_the_command_line_is_a_module_too(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["python -m jointspace", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("jointspace", run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out == f"jointspace {__version__}\n"


def test_a_full_disk_is_one_line_and_exit_code_2(command, capsys):
    command.run = raiser(OSError(errno.ENOSPC, "No space left on device", "runs/a/model"))
    assert cli.main(["inspect", "somewhere"]) == 2
    assert "No space left on device: 'runs/a/model'" in one_line(capsys.readouterr())


def test_interruption_is_one_line_and_exit_code_2(command, capsys):
    command.run = raiser(KeyboardInterrupt())
    assert cli.main(["inspect", "somewhere"]) == 2
    assert one_line(capsys.readouterr()) == "jointspace: interrupted"


def test_a_missing_extra_is_named_with_its_cure():
    script = (
        "import sys\n"
        "class WithoutTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, WithoutTorch())\n"
        "from jointspace.cli import main\n"
        "sys.exit(main(['train', 'a.toml', '--data', 'b', '--out', 'c']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        "jointspace: error: this feature needs the package 'torch': "
        "pip install 'jointspace[train]'\n"
    )


def test_a_defect_is_not_hidden(command):
    command.run = raiser(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        cli.main(["inspect", "somewhere"])


def test_debugging_shows_the_traceback_before_the_line(command, capsys, monkeypatch):
    monkeypatch.setenv("JOINTSPACE_DEBUG", "1")
    command.run = raiser(InputError("wrong"))
    assert cli.main(["inspect", "somewhere"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "jointspace: error: wrong"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            (
                "which command? Known: bench, demo, embed, evaluate, export, inspect, learn, push, "
                "robot replay, robot rollout, robot run, rollout, save, simulate, train. "
                "See jointspace --help"
            ),
        ),
        (["evalute", "x"], "unknown command 'evalute'. Did you mean 'evaluate'?"),
        (
            ["robot"],
            "which command? Known: robot replay, robot rollout, robot run. See jointspace --help",
        ),
        (["robot", "rum", "x"], "unknown command 'robot rum'. Did you mean 'robot run'?"),
        (
            ["robot", "run"],
            "Missing from jointspace robot run: BUNDLE. See jointspace robot run --help",
        ),
        (["inspect"], "Missing from jointspace inspect: DATASET. See jointspace inspect --help"),
        (
            ["train", "a", "--data", "b", "--out", "c", "--resum"],
            (
                "Unrecognized options: --resum; Perhaps you meant: --resume. "
                "See jointspace train --help"
            ),
        ),
        (
            ["simulate", "a", "--renderer", "rays"],
            (
                "invalid choice 'rays' for argument '--renderer'. Expected one of "
                "('ray', 'gl'). See jointspace simulate --help"
            ),
        ),
    ],
)
def test_words_that_cannot_be_parsed_are_one_line_and_exit_code_2(words, message, capsys):
    assert cli.main(words) == 2
    assert one_line(capsys.readouterr()) == f"jointspace: error: {message}"


def test_a_command_of_two_words_has_its_own_help_and_module(command, capsys):
    with pytest.raises(SystemExit):
        cli.main(["robot", "run", "--help"])
    assert "usage: jointspace robot run" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["robot", "--help"])
    assert "robot run" in capsys.readouterr().out
    seen = []
    command.run = lambda parsed: seen.append(parsed) or StandIn()
    words = ["robot", "run", "bundle", "--remap", "a:=b", "c:=d", "--set", "decoder=velocity"]
    assert cli.main(words) == 0
    assert isinstance(seen[0], arguments.RobotRun)
    assert seen[0].remappings == ("a:=b", "c:=d")
    assert seen[0].overrides == ("decoder=velocity",)


def test_overrides_add_up_in_both_spellings(command):
    seen = []
    command.run = lambda parsed: seen.append(parsed) or StandIn()
    words = ["train", "a.toml", "--data", "b", "--out", "c"]
    assert cli.main([*words, "--set", "seed=1", "train.num_steps=2", "--set", "seed=3"]) == 0
    assert isinstance(seen[0], arguments.Train)
    assert seen[0].overrides == ("seed=1", "train.num_steps=2", "seed=3")


def test_a_reader_that_leaves_the_pipe_early_is_no_error():
    script = (
        "import os, sys\n"
        "from jointspace import cli\n"
        "class Long:\n"
        "    def render(self): return 'x' * 100_000\n"
        "cli._run = lambda parsed: Long()\n"
        "sys.exit(cli.main(['inspect', 'somewhere']))\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    writer.stdout.read(1)
    writer.stdout.close()
    assert writer.stderr.read() == ""
    writer.stderr.close()
    assert writer.wait() == 0
