"""What import-linter cannot see: the doors as they are at run time, and the packaging."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
LAYERS, FORBIDDEN = PROJECT["tool"]["importlinter"]["contracts"]

OPTIONAL_PACKAGES = [
    "av",
    "huggingface_hub",
    "matplotlib",
    "safetensors",
    "tensorboard",
    "tokenizers",
    "torch",
    "transformers",
]


def distribution(requirement):
    return re.split(r"[<>=~!\[; ]", requirement)[0].lower().replace("_", "-")


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("package", FORBIDDEN["source_modules"])
def test_modules_without_torch_import_where_only_the_core_is_installed(package):
    script = (
        "import importlib, pkgutil, sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL_PACKAGES}))\n"  # None refuses the import
        f"package = importlib.import_module({package!r})\n"
        "path = getattr(package, '__path__', [])\n"
        "for module in pkgutil.walk_packages(path, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_page_on_architecture_draws_the_doors_that_are_enforced():
    page = (ROOT / "docs" / "concepts" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"^cli > .*$", page, flags=re.MULTILINE)
    assert drawn is not None
    assert drawn.group().split(" > ") == LAYERS["layers"]


def test_the_extra_all_installs_every_feature():
    earlier_names = {name for name, needs in EXTRAS.items() if needs == ["jointspace[pretrained]"]}
    features = sorted(set(EXTRAS) - {"all", "dev", "docs"} - earlier_names)
    assert EXTRAS["all"] == [f"jointspace[{','.join(features)}]"]


def test_every_requirement_is_pinned():
    pinned = {distribution(line) for line in pins()}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins())
    required = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    required += [each for extra in EXTRAS.values() for each in extra]
    assert {distribution(each) for each in required} - {"jointspace"} <= pinned
