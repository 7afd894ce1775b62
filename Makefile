# The README's two commands. Each does all of its own set-up; nothing else needs to be installed first than
# Python 3.11 or newer.
.POSIX:
.PHONY: demo test check docs build clean

OUT = runs/demo

# Simulates a robot at a table, trains on it and reports how well the space retrieves; or trains on a LeRobot data set
# of your own: make demo DATA=path/to/dataset
# A demo that was interrupted continues; another data set wants another folder: OUT=runs/other
demo:
	@scripts/install
	@if [ -n "$(DATA)" ]; then set -- --data "$(DATA)"; else set --; fi; \
	    echo .venv/bin/jointspace demo --out $(OUT) "$$@"; \
	    .venv/bin/jointspace demo --out $(OUT) "$$@"

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
