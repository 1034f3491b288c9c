# The two commands of a newcomer: `make demo` and `make test`. Everything else builds on .venv.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
UPSTREAM := .venv-imagereward

# One thread a process (threads that outnumber cores slow torch tenfold), and a malloc that keeps
# its memory. All three, or none: with either of the first two alone glibc stops raising the third,
# maps every tensor anew, and a third of the time goes to page faults (docs/performance.md).
export OMP_NUM_THREADS ?= 1
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_TOP_PAD_ ?= 268435456
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296

.PHONY: demo faces ablation test test-long check bench calibrate chaos house clean install format env-imagereward

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

# Three workers for two cores: what starts Ray or a server waits more than it computes.
test: $(INSTALLED)
	$(PY) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m "not long"

# The long forms of what `make test` shows in short.
test-long: $(INSTALLED)
	$(PY) -m pytest -m long

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

# uv installs in half a minute; where it is missing, it is put into the .venv itself. Bytecode is
# compiled now, because every actor that starts without it loses twenty seconds.
$(INSTALLED): requirements.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	command -v uv > /dev/null || $(PY) -m pip install --quiet uv
	PATH="$$PATH:$(CURDIR)/$(VENV)/bin" uv pip install --quiet --python $(PY) --compile-bytecode -r requirements.txt
	PATH="$$PATH:$(CURDIR)/$(VENV)/bin" uv pip install --quiet --python $(PY) --no-deps -e .
	touch $@

# Upstream's own scoring (`backend: upstream`) lives apart: the package image-reward needs a timm
# and a transformers of its time.
env-imagereward: $(UPSTREAM)/.installed

$(UPSTREAM)/.installed: cluster/imagereward.txt
	test -x $(UPSTREAM)/bin/python || $(PYTHON) -m venv $(UPSTREAM)
	command -v uv > /dev/null || $(UPSTREAM)/bin/python -m pip install --quiet uv
	PATH="$$PATH:$(CURDIR)/$(UPSTREAM)/bin" uv pip install --quiet --python $(UPSTREAM)/bin/python --compile-bytecode -r $<
	touch $@

clean:
	rm -rf $(VENV) $(UPSTREAM) build runs .pytest_cache .mypy_cache .ruff_cache *.egg-info
