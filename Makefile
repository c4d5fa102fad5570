# make demo | check | test | gpu | lint | fix | bench | versions | clean: each installs what it needs and can be repeated.
SHELL := /bin/bash
# With it set, each worker and each program that a test starts would compile all code again.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The trainer's tests and the lab run on the CPU. The CPU build of torch comes from the machine's own folder of wheels
# (PIP_FIND_LINKS) if it has one, else from PyTorch's index of CPU builds.
TORCH := torch==2.13.0
TORCH_INDEX := $(if $(PIP_FIND_LINKS),,--extra-index-url https://download.pytorch.org/whl/cpu)
SYSTEM := mmdebstrap systemd-container iproute2 openssh-client rsync git curl zstd util-linux gnupg
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)

# Make one target after the other and print the seconds of each.
timed = took=; all=0; for part in $(1); do SECONDS=0; $(MAKE) --no-print-directory $$part || exit; \
  took+="$$part $$SECONDS s, "; ((all += SECONDS)); done; echo "Finished: $${took}together $$all s"

# make test ORDER=7: random order with this seed, of the files and within each file (hosts belong to one file).
ORDER ?=
SHUFFLED := $(if $(ORDER),--random-order-bucket=module --random-order-seed=$(ORDER))

.PHONY: demo check test left-out offline slow lab gpu lint fix bench versions explore clean setup system

demo: setup system
	$(SUDO) $(BIN)/sdfleet demo

# Run this at each save: needs no root, network or host, and takes two minutes on two cores. Both at once: mypy
# leaves a core to the tests.
check: setup
	@$(MAKE) --no-print-directory -j2 --output-sync=line lint offline

# All tests. Prints the seconds of each part at the end.
test: setup system
	@$(call timed,check slow lab)
	@$(MAKE) --no-print-directory left-out

left-out:
	@echo "$$($(BIN)/pytest --collect-only -m gpu tests/training | grep -c ::) tests were left out: they need an NVIDIA GPU; run: make gpu"

offline: setup
	$(BIN)/pytest -n auto --dist worksteal $(SHUFFLED) -m "not lab and not slow and not gpu"

# One thread per worker: two workers with two threads each would wait for each other.
slow: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal $(SHUFFLED) -m slow

# One lab per file, because hosts belong to one file, and three at a time: they wait for each other's hosts as long as
# they compute. Each needs up to 3 GB of memory. On hosts of Debian 13: RELEASE=trixie; some files: FILES="tests/lab".
LABS := 3
lab: setup system
	$(SUDO) $(if $(RELEASE),env SDFLEET_LAB_RELEASE=$(RELEASE)) $(BIN)/pytest -n $(LABS) --dist loadfile \
	  --no-loadscope-reorder $(SHUFFLED) -m lab $(FILES)

# On a machine with an NVIDIA GPU, with any Python that has torch for CUDA; five minutes, no network.
# Options: ARGS="--only repeat".
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

# The offline tests with the oldest and the newest packages, on every installed Python; takes minutes.
versions: setup
	nice $(BIN)/python -m tests.install.versions

# The property tests with ten times as many inputs, other ones each time. What they find becomes a test of its own.
explore: setup
	EXAMPLES=10 $(BIN)/pytest -n auto --dist worksteal -m "" $$(grep -l "^from hypothesis import given" -r tests --include=*.py)

setup: $(READY)

$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sdfleet needs Python 3.11 or newer: apt install python3.11 python3.11-venv, or set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(SUDO) apt-get install -y -q python3-venv
	@echo "Installing sdfleet and its packages in $(VENV), 2 GB: about a minute, longer on a slow link; pip prints nothing meanwhile."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(TORCH_INDEX) $(TORCH)
	$(BIN)/pip install -q $(TORCH_INDEX) -e '.[train,lab,dashboard,dev]' $(TORCH)
	touch $@

system:
	@dpkg -s $(SYSTEM) >/dev/null 2>&1 || \
	  { $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q $(SYSTEM); }
	@command -v chromium-headless-shell chromium google-chrome >/dev/null || \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends chromium-headless-shell || \
	  echo "no Chromium in this distribution: skipping the tests that need a browser"

clean:
	-$(SUDO) $(BIN)/sdfleet lab down
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist build demo
