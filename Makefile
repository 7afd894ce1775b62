# The README's two commands. Each does all of its own set-up; nothing else needs to be installed first than
# Python 3.11 or newer.
.POSIX:
.PHONY: demo test check docs build clean

OUT = runs/demo
CONFIG = configs/lerobot.toml

# Trains on a LeRobot data set and reports how well the space retrieves: make demo DATA=path/to/dataset
# A demo that was interrupted continues; another data set wants another folder: OUT=runs/other
demo:
	@if [ -z "$(DATA)" ]; then \
	    echo "make demo: error: which data set? Give the folder of a LeRobot data set: make demo DATA=path/to/dataset" >&2; \
	    exit 2; \
	fi
	@scripts/install
	.venv/bin/jointspace train $(CONFIG) --data "$(DATA)" --out $(OUT) --resume
	.venv/bin/jointspace evaluate $(OUT) --data "$(DATA)"

test:
	@scripts/test

check:
	@scripts/check

docs:
	@scripts/docs

build:
	@scripts/build

clean:
	rm -rf .venv build dist site .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
