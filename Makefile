# make lab: the course in JupyterLab.   make test: every check.   make help: the rest.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help lab test test-data test-kill course notebooks figure weights address clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

lab: .venv/.lab  ## install, open JupyterLab on notebook 01
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_unet_segmentation.ipynb

test: .venv/.test  ## install, run every test: helpers and all notebooks
	$(BIN)/python -m pytest

test-data: .venv/.test  ## the tests on real pictures; COURSE_DATA names their folder
	@test -d "$(COURSE_DATA)" || { echo "Set COURSE_DATA to the folder of real pictures: make test-data COURSE_DATA=folder"; exit 1; }
	COURSE_DATA="$(abspath $(COURSE_DATA))" $(BIN)/python -m pytest -rs tests/test_*_real.py

test-kill: .venv/.test  ## kill a training fifty times, see that nothing is lost
	KILLS=50 $(BIN)/python -m pytest tests/test_train.py -k kill

course: .venv/.test  ## run all notebooks; executed copies and HTML pages land in build/
	$(BIN)/python tools/notebooks.py build

notebooks: .venv/.test  ## run all notebooks and rewrite their saved outputs in place
	$(BIN)/python tools/notebooks.py in-place

figure: .venv/.test  ## draw the README's picture
	$(BIN)/python tools/readme_figure.py

weights: .venv/.test  ## train the shipped weights anew (12,000 steps)
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no -m helpers.run --examples 20000 --steps 12000 --out data/weights/craters64.safetensors

address: .venv/.test  ## stamp the address from pyproject.toml everywhere; REPO=owner/name changes it
	$(BIN)/python tools/address.py $(REPO)

clean:           ## remove what was made here, save .venv and your own weights
	rm -rf build data/cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.%: pyproject.toml $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@
