# make lab: the course in JupyterLab.   make test: every check.   make help: the rest.
PYTHON ?= python3
BIN := .venv/bin
# A worker for each core, each notebook and each file of tests on one of them, the slow ones first (notebooks/conftest.py).
PARALLEL := -n logical --no-loadscope-reorder --dist
.DEFAULT_GOAL := help
.PHONY: help lab test test-data test-kill test-repeat bench test-colab test-floor test-latest test-browser course site notebooks student instructor rehearse kit doctor lint figure weights cards address clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

lab: .venv/.lab  ## install, open JupyterLab on notebook 01
	$(BIN)/python -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_unet_segmentation.ipynb

test: .venv/.test  ## install, run every test; PART=tests or PART=notebooks only these; FULL=1 trains as long as learners do
	$(if $(filter-out 0,$(FULL)),COURSE_TRAINING=1) $(BIN)/python -m pytest $(PARALLEL) loadfile $(PART)

test-data: .venv/.test  ## the tests on real pictures; COURSE_DATA names their folder
	@test -d "$$COURSE_DATA" || { echo "COURSE_DATA=\"$$COURSE_DATA\" is no folder. Name that of real images: make test-data COURSE_DATA=folder"; exit 1; }
	COURSE_DATA="$$(cd "$$COURSE_DATA" > /dev/null && pwd)" $(BIN)/python -m pytest $(PARALLEL) loadgroup -rs tests/test_*_real.py

lint: .venv/.test .venv/.lint  ## ruff over code and notebooks; editors' metadata out of notebooks
	$(BIN)/ruff check
	$(BIN)/python -m tools.authoring.clean

test-kill: .venv/.test  ## kill a training fifty times, see that nothing is lost
	KILLS=50 $(BIN)/python -m pytest tests/test_train.py -k kill

test-repeat: .venv/.test .venv/.bench  ## the unit tests twenty times, each notebook five times, and the counts kept; JOBS=2: two at a time
	$(BIN)/python -m tools.checks.repeat $(if $(JOBS),--jobs $(JOBS))

test-colab: .venv-colab/.ready  ## every notebook as Colab runs it, with Colab's versions; NOTEBOOKS=02_forward_noising only these
	.venv-colab/bin/python -m tools.checks.colab $(NOTEBOOKS)

test-floor: .venv-floor/.ready  ## every test with the oldest versions that pyproject.toml allows
	.venv-floor/bin/ruff check
	.venv-floor/bin/python -m pytest $(PARALLEL) loadfile

test-latest:     ## every test with the newest versions of everything, taken anew
	@sh tools/venv.sh .venv-latest "$(PYTHON)" anew
	.venv-latest/bin/python $(INSTALL) --upgrade --upgrade-strategy eager -e ".[test]" || $(BROKEN)
	.venv-latest/bin/python -m pytest $(PARALLEL) loadfile

test-browser: .venv/.test .venv/.lab .venv/.browser .venv/.site .venv-colab/.ready  ## the site, and widgets in both front ends, in Chromium; PAGES="01 04" of these, PAGES=all of all; WHOLE=1 uncut
	$(BIN)/python -m tools.authoring.site
	COURSE_SITE=build/site COURSE_BROWSER="$(or $(PAGES),usual)" COURSE_WHOLE="$(WHOLE)" $(BIN)/python -m pytest tests/browser

bench: .venv/.bench  ## measure every claim, three to five hours; QUICK=1: shorter; NAME=sampling only this
	$(BIN)/python -m benchmarks.bench $(NAME) $(if $(filter-out 0,$(QUICK)),--quick)

course: .venv/.test .venv/.site  ## run all notebooks; executed copies and HTML pages land in build/
	$(BIN)/python -m tools.authoring.run build

site: .venv/.test .venv/.site  ## the saved notebooks as a site in build/site, and its check
	$(BIN)/python -m tools.authoring.site
	COURSE_SITE=build/site $(BIN)/python -m pytest tests/test_site.py

notebooks: .venv/.test  ## run all notebooks and rewrite their saved outputs in place
	$(BIN)/python -m tools.authoring.run in-place

student: .venv/.test  ## the notebooks for a class in build/student: no outputs, stubs untouched, solutions out of sight
	$(BIN)/python -m tools.teaching.classroom student

instructor: .venv/.test  ## the notebooks for teachers in build/instructor: answers, known mistakes, wrong ideas, times
	$(BIN)/python -m tools.teaching.classroom instructor

rehearse: .venv/.test  ## Run-All of the student notebooks as they stand; PAGES="02 05" only these
	$(BIN)/python -m tools.teaching.classroom rehearse $(PAGES)

kit: .venv/.test .venv/.kit  ## the instructor's kit, one zip in build/ that works without a network
	$(BIN)/python -m tools.teaching.kit

doctor:          ## is this machine ready for the course, and how long will each page take?
	"$(call first,$(BIN)/python)" -m tools.teaching.doctor

figure: .venv/.test  ## draw the README's picture
	$(BIN)/python -m tools.authoring.figure

craters64 := --data craters --examples 20000 --steps 8000 --snapshots 7 --batch 16 --lr 4e-3
ground64 := --data ground --start data/weights/craters64.safetensors --examples 20000 --steps 12000 --batch 16 --lr 4e-3
cells64 := --data cells --steps 4000 --batch 16 --lr 4e-3
heads64 := --data heads --steps 4500 --batch 16 --lr 4e-3
digits32 := --data digits --size 32 --steps 4000 --batch 16 --lr 4e-3
few := --data craters --size 32 --steps 2000 --batch 16 --lr 4e-3
few20 := $(few) --examples 20
few98 := $(few) --examples 98 --snapshots 3
few98turned := $(few) --examples 98 --turns
few500 := $(few) --examples 500
few8000 := $(few)
FEW := few20 few98 few98turned few500 few8000
SHIPPED := craters64 ground64 cells64 heads64 digits32 $(FEW)
weights: .venv/.test  ## train the shipped weights anew; NAME=heads64 only these
	$(foreach name,$(or $(NAME),$(SHIPPED)),$(BIN)/python -m tools.models.train $($(name)) $(TRAINING) --out data/weights/$(name).safetensors &&) true

cards: .venv/.test  ## measure the shipped weights; write their checksums and data/weights/README.md
	$(BIN)/python -m tools.models.cards

address: .venv/.test  ## stamp the address from pyproject.toml everywhere; REPO=owner/name changes it
	$(BIN)/python -m tools.authoring.address $(REPO)

clean:           ## remove what was made here, save .venv and your own weights
	rm -rf build data/cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# Environments. tools/venv.sh looks at one whenever it is used, which takes a tenth of a second, and makes it anew where
# it is half-made, broken or of another Python. What is installed is noted by files inside it, so that they go with it.
# Programs run as modules (python -m): the scripts in bin/ hold the folder's full path, and break when it is renamed.
INSTALL := -m pip install --quiet --disable-pip-version-check
BROKEN = { echo "This installation broke; the reason stands above. Give the same command again: it goes on." >&2; exit 1; }
NAMED := $(filter command environment,$(origin PYTHON))
# The first of some Pythons that runs: Colab has 3.13, the floor is 3.11; where neither is at hand, the one there is.
first = $(shell for p in $(1) "$(PYTHON)"; do "$$p" -c "" 2>/dev/null && echo "$$p" && exit; done; echo "$(PYTHON)")
COLAB_PYTHON ?= $(call first,python3.13 python3.12)
FLOOR_PYTHON ?= $(call first,python3.11)

.venv/.python: FORCE
	@sh tools/venv.sh .venv "$(PYTHON)" $(if $(NAMED),match,keep)

.venv-colab/.python: tests/colab-constraints.txt FORCE
	@sh tools/venv.sh .venv-colab "$(COLAB_PYTHON)" match $<

.venv-floor/.python: pyproject.toml tools/checks/versions.py FORCE
	@sh tools/venv.sh .venv-floor "$(FLOOR_PYTHON)" match pyproject.toml tools/checks/versions.py

FORCE:

.venv-colab/.ready: .venv-colab/.python
	.venv-colab/bin/python $(INSTALL) -r tests/colab-constraints.txt nbval==0.11.0 || $(BROKEN)
	@touch $@

.venv-floor/.ready: .venv-floor/.python
	.venv-floor/bin/python -m tools.checks.versions floors > .venv-floor/floors.txt
	.venv-floor/bin/python $(INSTALL) --constraint .venv-floor/floors.txt -e ".[dev,bench,browser,kit]" || $(BROKEN)
	@touch $@

.venv/.%: pyproject.toml .venv/.python
	$(BIN)/python $(INSTALL) -e ".[$*]" || $(BROKEN)
	@touch $@
