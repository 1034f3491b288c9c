# The two commands of a newcomer: `make demo` and `make test`. Everything else builds on .venv.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
UPSTREAM := .venv-imagereward
AUDIT := .venv-audit
LOWEST := .venv-lowest

# One thread a process (threads that outnumber cores slow torch tenfold), and a malloc that keeps
# its memory. All three, or none: with either of the first two alone glibc stops raising the third,
# maps every tensor anew, and a third of the time goes to page faults (docs/performance.md).
export OMP_NUM_THREADS ?= 1
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_TOP_PAD_ ?= 268435456
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296

.PHONY: demo faces ablation test test-long test-lowest check bench calibrate chaos house clean install format env-imagereward audit

demo: $(INSTALLED)
	$(PY) jobs/consistency.py configs/consistency/miniature.yaml

# From photos to a Face Score, judged: docs/faces.md. Each line goes on where it was stopped.
faces: $(INSTALLED)
	$(PY) -m raypipe.miniature.photos runs/photos 600
	$(PY) jobs/face_pairs.py configs/face_pairs/miniature.yaml
	$(PY) -m raypipe.miniature.pair_quality runs/miniature_pairs
	$(PY) jobs/consistency.py configs/consistency/miniature_portraits.yaml
	$(PY) jobs/face_pairs.py configs/face_pairs/generated.yaml
	$(PY) -m raypipe.miniature.pair_quality runs/miniature_generated_pairs
	$(PY) jobs/face_score.py configs/face_score/miniature.yaml
	$(PY) jobs/evaluate.py configs/evaluate/miniature.yaml
	$(PY) -m raypipe.miniature.choices runs/miniature_pairs runs/choices.parquet noise=0.05
	$(PY) jobs/align.py configs/align/miniature.yaml

# Which loss improves faces, and what does it cost? Over three trainings of each: docs/faces.md.
ablation: faces
	$(PY) jobs/consistency.py configs/consistency/miniature_general.yaml
	$(PY) jobs/face_ablation.py configs/face_ablation/miniature.yaml

# Three workers for two cores: one has all that starts Ray (tests/conftest.py), and often waits.
test: $(INSTALLED)
	$(PY) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m "not long"

# The long forms of what `make test` shows in short.
test-long: $(INSTALLED)
	$(PY) -m pytest -m long

# The lower bounds of pyproject.toml: what reads others' files and loads models, with the lowest
# versions that they allow. Several gigabytes, most of them torch.
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -m "not long" tests/hostile/test_files.py tests/hostile/test_uris.py \
		tests/core tests/config tests/inputs tests/weights tests/storage/test_files.py \
		tests/models/diffusion/test_other_pipelines.py tests/models/diffusion/test_text.py \
		tests/models/lora/test_place.py tests/models/test_encoder.py tests/jobs/test_older_run.py

$(LOWEST)/.installed: pyproject.toml
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install $(PINNED) -r cluster/uv.txt
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -r pyproject.toml --extra hub --extra faces
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python pytest pytest-timeout hypothesis psutil
	touch $@

check: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache

bench: $(INSTALLED)
	$(PY) tests/benchmarks/run.py

# How often is a verdict false? The table of docs/statistics.md, by simulation.
calibrate: $(INSTALLED)
	$(PY) tests/calibrate.py

# Random faults against a cluster of processes: make chaos SEED=7 FAULTS=50
SEED ?= 1
FAULTS ?= 20
chaos: $(INSTALLED)
	$(PY) tests/ray/chaos.py --seed $(SEED) --faults $(FAULTS)

# docs/house.svg: the rooms of the package, and which imports which.
house: $(INSTALLED)
	$(PY) docs/house.py

format: $(INSTALLED)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

install: $(INSTALLED)

# Every file that is installed has a digest that stands in this repository, uv too, and is a wheel: no
# code of a package runs before it is imported. What is built here, raypipe itself, is built by the
# hatchling of these pins. Bytecode is compiled now, because every actor that starts without it loses
# twenty seconds.
PINNED := --quiet --require-hashes

$(INSTALLED): requirements.txt pyproject.toml cluster/uv.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install $(PINNED) -r cluster/uv.txt
	$(VENV)/bin/uv pip install $(PINNED) --python $(PY) --compile-bytecode --only-binary :all: -r requirements.txt
	$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	touch $@

# Upstream's own scoring (`backend: upstream`) lives apart: the package image-reward needs a timm
# and a transformers of its time. One package comes as source, and is built with tools of the same
# file.
env-imagereward: $(UPSTREAM)/.installed

$(UPSTREAM)/.installed: cluster/imagereward.txt cluster/uv.txt
	test -x $(UPSTREAM)/bin/python || $(PYTHON) -m venv $(UPSTREAM)
	$(UPSTREAM)/bin/python -m pip install $(PINNED) -r cluster/uv.txt
	$(UPSTREAM)/bin/uv pip install $(PINNED) --python $(UPSTREAM)/bin/python --compile-bytecode --build-constraints $< -r $<
	touch $@

# Known vulnerabilities of everything that is pinned. It asks a database on the network, and fails
# where it cannot, so it is no part of CI.
PINS := requirements.txt cluster/imagereward.txt cluster/gcp.txt cluster/uv.txt cluster/audit.txt
audit: $(AUDIT)/.installed
	for pins in $(PINS); do \
	    echo "$$pins"; $(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes -r $$pins || exit 1; \
	done

$(AUDIT)/.installed: cluster/audit.txt
	test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install $(PINNED) --only-binary :all: -r $<
	touch $@

clean:
	rm -rf $(VENV) $(UPSTREAM) $(AUDIT) $(LOWEST) build runs .pytest_cache .mypy_cache .ruff_cache *.egg-info
