# make demo | check | test | gpu | lint | fix | bench | versions | clean: each sets up what it needs, and may be run again at
# any time.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The trainer's tests and the lab run on the CPU: a machine with a folder of wheels of its own
# (PIP_FIND_LINKS) has a CPU build of torch there, any other takes PyTorch's index of CPU builds.
TORCH := torch==2.13.0
TORCH_INDEX := $(if $(PIP_FIND_LINKS),,--extra-index-url https://download.pytorch.org/whl/cpu)
SYSTEM := mmdebstrap systemd-container iproute2 openssh-client rsync git curl zstd util-linux gnupg
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)

# Make one target after the other, and tell what each took.
timed = took=; all=0; for part in $(1); do SECONDS=0; $(MAKE) --no-print-directory $$part || exit; \
  took+="$$part $$SECONDS s, "; ((all += SECONDS)); done; echo "Finished: $${took}together $$all s"

# make test ORDER=7: in an order drawn by that number, within each file (hosts are a file's own) and of all files.
ORDER ?=
SHUFFLED := $(if $(ORDER),--random-order-bucket=module --random-order-seed=$(ORDER))

.PHONY: demo check test left-out offline slow lab gpu lint fix bench versions clean setup system

demo: setup system
	$(SUDO) $(BIN)/sdfleet demo

# What to run at each save: no root, no network, no host, a minute on two cores.
check: setup
	@$(call timed,lint offline)

# Everything. What it took is printed at the end, part by part.
test: setup system
	@$(call timed,lint offline slow lab)
	@$(MAKE) --no-print-directory left-out

left-out:
	@echo "$$($(BIN)/pytest --collect-only -m gpu tests/training | grep -c ::) tests were left out: they need an NVIDIA GPU; run: make gpu"

offline: setup
	$(BIN)/pytest -n auto --dist worksteal $(SHUFFLED) -m "not lab and not slow and not gpu"

# One thread a worker: two workers with two threads each would wait for each other.
slow: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal $(SHUFFLED) $(CHANCES) -m slow

# Two labs at a time, each file in one: the hosts of a file are its own.
lab: setup system
	$(SUDO) $(BIN)/pytest -n 2 --dist loadfile $(SHUFFLED) $(CHANCES) -m lab

# On a machine with a card, with any Python that has torch for CUDA; five minutes, no network. ARGS="--only repeat".
gpu:
	$(if $(and $(filter file,$(origin PYTHON)),$(wildcard $(READY))),$(BIN)/python,$(PYTHON)) benchmarks/gpu.py $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	for file in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do $(SUDO) $(BIN)/python $$file || exit; done

# Minutes: the offline tests with the oldest and the newest packages, on every Python that is here.
versions: setup
	nice $(BIN)/python -m tests.install.versions

setup: $(READY)

$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sdfleet needs Python 3.11 or newer: apt install python3.11 python3.11-venv, or set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(SUDO) apt-get install -y -q python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(TORCH_INDEX) $(TORCH)
	$(BIN)/pip install -q $(TORCH_INDEX) -e '.[train,lab,dev]' $(TORCH)
	touch $@

system:
	@dpkg -s $(SYSTEM) >/dev/null 2>&1 || \
	  { $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q $(SYSTEM); }
	@command -v chromium-headless-shell chromium google-chrome >/dev/null || \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends chromium-headless-shell || \
	  echo "no Chromium in this distribution: the tests that need a browser are left out"

clean:
	-$(SUDO) $(BIN)/sdfleet lab down
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist build demo
