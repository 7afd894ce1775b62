"""`jointspace robot run`: what it says of mistakes, before anything moves."""

import subprocess
import sys

import pytest

from jointspace import cli
from tests.deploy.bundles import make_bundle, preprocessor


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    made = preprocessor(cameras=("front",), window_frames=1)
    return str(make_bundle(tmp_path_factory.mktemp("bundles") / "bundle", preprocessor=made))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "image_qos=SENSOR"], "image_qos: got 'SENSOR', expected one of 'SENSOR_DATA'"),
        (["--set", "image_qo=DEFAULT"], "image_qo: unknown key. Did you mean 'image_qos'?"),
        (["--domain-id", "300"], "domain: got 300, expected a number in [0, 232]"),
        (["--namespace", "left-arm"], "namespace: got 'left-arm', expected one such as /left_arm"),
        (["--name", "my robot"], "node name: got 'my robot', expected letters"),
        (["--remap", "image=front"], "remap: got 'image=front', expected from:=to"),
        (["--config", "missing.toml"], "missing.toml: cannot be read: No such file"),
    ],
)
def test_a_mistake_is_told_before_the_bundle_is_read(words, message, capsys):
    assert cli.main(["robot", "run", "no-bundle", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_bundle_that_is_none_is_named(capsys):
    assert cli.main(["robot", "run", "no-bundle"]) == 2
    assert "no-bundle/manifest.json: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["command_topic=say//it"], "topic: got 'say//it', expected words of letters"),
        (
            ['image_topics=["a","b"]'],
            "image_topics: got ['a', 'b'], expected 1 distinct ones",
        ),
        (["visual_input=tensor_list"], "visual_input: got 'tensor_list', expected 'image' without"),
    ],
)
def test_what_does_not_fit_the_network_or_the_bundle_is_named(
    words, message, bundle, domain_id, capsys
):
    words = ["robot", "run", bundle, "--loopback", "--domain-id", str(domain_id), "--set", *words]
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_a_network_that_is_not_there_is_named(bundle, domain_id, monkeypatch, capsys):
    monkeypatch.setenv(
        "CYCLONEDDS_URI",
        '<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface name="none0"/>'
        "</Interfaces></General></Domain></CycloneDDS>",
    )
    assert cli.main(["robot", "run", bundle, "--domain-id", str(domain_id)]) == 2
    assert f"domain {domain_id} cannot be joined" in capsys.readouterr().err


def test_a_robot_needs_no_torch_and_none_of_what_reads_data_sets():
    script = (
        "import sys\n"
        "import jointspace.commands.robot_run\n"
        "heavy = {'torch', 'pyarrow', 'PIL', 'av', 'matplotlib', 'cattrs', 'rich', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("machine", "package", "message"),
    [
        ("x86_64", "cyclonedds", "'cyclonedds': pip install 'jointspace[robot]'\n"),
        ("x86_64", "rosbags", "'rosbags': pip install 'jointspace[robot]'\n"),
        (
            "aarch64",
            "cyclonedds",
            (
                "'cyclonedds': pip install 'jointspace[robot]'; cyclonedds has no wheel for "
                "aarch64: there ROS 2 itself is the way, and ros/jointspace_ros is the same node "
                "for it\n"
            ),
        ),
    ],
)
def test_a_missing_package_is_named_with_its_cure(machine, package, message):
    script = (
        "import platform, sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {package!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        f"platform.machine = lambda: {machine!r}\n"
        "from jointspace.cli import main\n"
        "sys.exit(main(['robot', 'run', 'bundle']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == f"jointspace: error: this feature needs the package {message}"
