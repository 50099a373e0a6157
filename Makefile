# make demo       the before/after picture, from nothing but Python
# make test       style, types and the fast tests            make test-slow  the tests that take long or repeat others
# make bench      every number that the documents claim      make clean      forget .venv and every cache
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -q -c constraints.txt
BENCHMARKS = $(filter-out benchmarks/_%,$(sort $(wildcard benchmarks/*.py)))

# The build backend is installed on its own: older pips read its pin from the first, newer ones from the other.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: venv demo test test-slow bench clean

venv: $(VENV)/.stamp

demo: venv
	$(BIN)/fewstep demo

test: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/mypy >$(VENV)/types.txt 2>&1 & types=$$!; echo "$(BIN)/mypy, beside:"; \
	echo "$(BIN)/pytest -n 2 --dist worksteal"; $(BIN)/pytest -n 2 --dist worksteal; tests=$$?; \
	wait $$types; types=$$?; echo "$(BIN)/mypy said:"; cat $(VENV)/types.txt; exit $$((tests | types))

test-slow: $(VENV)/.stamp-test
	$(BIN)/pytest -m slow -n 2 --dist worksteal

bench: $(VENV)/.stamp-test
	$(BIN)/fewstep bench digits --recipes all
	$(if $(BENCHMARKS),,$(error no script in benchmarks/))
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script"; done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# bin/pip is the last thing that `python -m venv` writes: an interrupted one is made again.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found; name yours: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("fewstep needs Python 3.11 or newer, but \
	$(PYTHON) is %d.%d; name another: make PYTHON=python3.12" % v[:2])'
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing fewstep into $(VENV) (the first time this fetches PyTorch and takes minutes)"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.stamp-test: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing fewstep and its test tools into $(VENV) (the first time this fetches PyTorch and takes minutes)"
	@$(INSTALL) -e '.[test]'
	@touch $(VENV)/.stamp $@
