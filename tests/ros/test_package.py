"""The ament package, as far as files go: no ROS is needed to read them."""

import ast
import configparser
import importlib
import re
import runpy
import subprocess
import sys
import types
import xml.etree.ElementTree as ET

import pytest
import setuptools
from ruamel.yaml import YAML

from jointspace import __version__
from jointspace.robot.configuration import parameters

# What comes with Python, with jointspace, or from jointspace_ros itself.
NOT_ROS = {"jointspace", "jointspace_ros", "numpy", "setuptools", *sys.stdlib_module_names}


@pytest.fixture
def manifest(package):
    return ET.parse(package / "package.xml").getroot()  # noqa: S314 - our own file


def sources(package):
    return sorted([*package.glob("jointspace_ros/*.py"), *package.glob("launch/*.py")])


def setup_arguments(package, monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    monkeypatch.chdir(package)
    runpy.run_path("setup.py")
    return given


def test_the_manifest_has_what_format_3_wants(manifest):
    assert manifest.tag == "package"
    assert manifest.get("format") == "3"
    order = ["name", "version", "description", "maintainer", "license"]
    assert [child.tag for child in manifest][: len(order)] == order
    assert re.fullmatch(r"[a-z][a-z0-9_]*", manifest.findtext("name"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest.findtext("version"))
    assert manifest.find("maintainer").get("email")
    assert manifest.findtext("export/build_type") == "ament_python"


def test_the_manifest_names_every_ros_package_that_is_imported(manifest, package):
    imported = set()
    for file in sources(package):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            imported |= {name.split(".")[0] for name in names}
    named = {each.text for each in manifest.findall("exec_depend")}
    assert imported - NOT_ROS <= named
    assert "cv_bridge" not in named | imported


def test_setup_and_manifest_agree(manifest, package, monkeypatch):
    arguments = setup_arguments(package, monkeypatch)
    assert arguments["name"] == manifest.findtext("name")
    assert arguments["version"] == manifest.findtext("version") == __version__
    assert arguments["license"] == manifest.findtext("license")
    assert arguments["packages"] == ["jointspace_ros"]
    for folder, files in arguments["data_files"]:
        assert folder.startswith("share/")
        assert all((package / file).is_file() for file in files), files
    index = dict(arguments["data_files"])["share/ament_index/resource_index/packages"]
    assert index == ["resource/jointspace_ros"]
    config = configparser.ConfigParser()
    config.read(package / "setup.cfg")
    assert config["install"]["install_scripts"] == "$base/lib/jointspace_ros"
    assert config["develop"]["script_dir"] == "$base/lib/jointspace_ros"


def test_entry_points_are_functions_that_are_there(ros, package, monkeypatch):
    arguments = setup_arguments(package, monkeypatch)
    for entry in arguments["entry_points"]["console_scripts"]:
        module, function = entry.partition(" = ")[2].split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_the_file_of_parameters_is_what_the_configuration_says(ros, package):
    module = importlib.import_module("jointspace_ros.params_file")
    file = package / "config" / "params.yaml"
    assert file.read_text(encoding="utf-8") == module.params_yaml(), (
        "run `python -m jointspace_ros.params_file > config/params.yaml` in ros/jointspace_ros"
    )


def test_the_file_of_parameters_parses_to_the_defaults(package):
    text = (package / "config" / "params.yaml").read_text(encoding="utf-8")
    found = YAML(typ="safe").load(text)["/**"]["ros__parameters"]
    wanted = {each.name: each for each in parameters()}
    assert found.keys() == {n for n, each in wanted.items() if each.default != ()}
    for name, value in found.items():
        default = wanted[name].default
        assert value == (list(default) if isinstance(default, tuple) else default)
        # ROS takes 1 for an integer, and an integer for no float.
        assert type(value) is type(list(default) if isinstance(default, tuple) else default)
        if wanted[name].kind == "float[]":
            assert all(isinstance(each, float) for each in value)


def launch_stand_ins():
    """Modules of launch and launch_ros whose actions remember their arguments."""

    class Action:
        def __init__(self, *arguments, **named):
            self.arguments, self.named = arguments, named

    contents = {
        "launch": ["LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument"],
        "launch.substitutions": ["LaunchConfiguration", "PathJoinSubstitution"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }
    made = {}
    for name, classes in contents.items():
        made[name] = types.ModuleType(name)
        for each in classes:
            setattr(made[name], each, Action)
    return made


def test_the_launch_file_starts_the_executable_with_its_parameters(package, monkeypatch):
    for name, module in launch_stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)
    loaded = runpy.run_path(str(package / "launch" / "jointspace.launch.py"))
    actions = loaded["generate_launch_description"]().arguments[0]
    node = actions[-1].named
    scripts = setup_arguments(package, monkeypatch)["entry_points"]["console_scripts"]
    assert node["package"] == "jointspace_ros"
    assert node["executable"] in {entry.partition(" = ")[0] for entry in scripts}
    declared = {each.arguments[0] for each in actions[:-1]}
    used = set(
        re.findall(
            r'LaunchConfiguration\("(\w+)"\)', (package / "launch/jointspace.launch.py").read_text()
        )
    )
    assert used <= declared
    defaults = {each.name: each.default for each in parameters()}
    assert node["remappings"][0][0] == defaults["image_topics"][0]


@pytest.mark.ros
def test_the_launch_file_loads_where_launch_is_installed(package):
    sources_of = pytest.importorskip("launch.launch_description_sources")
    sources_of.get_launch_description_from_python_launch_file(
        str(package / "launch" / "jointspace.launch.py")
    )


def test_the_parameters_are_printed_without_ros(package):
    done = subprocess.run(
        [sys.executable, "-m", "jointspace_ros.params_file"],
        cwd=package,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (package / "config" / "params.yaml").read_text()


def test_topics_and_parameters_in_the_readme_exist(package):
    text = (package / "README.md").read_text(encoding="utf-8")
    known = {each.name for each in parameters()}
    assert set(re.findall(r"-p (\w+):=", text)) <= known
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) <= known
