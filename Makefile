# Two commands from a fresh clone: `make demo` and `make test`. The first run of each sets up its environment.
# Relative paths only: make cannot quote a prerequisite, and the checkout may lie under a folder with spaces.

VENV = .venv
# In the order of their folders: the many quick files come last, so that both processes end at about the same time.
PYTEST_ARGS = -n 2 --dist loadfile --no-loadscope-reorder
LOCK_ARGS =

SHELL = /bin/sh
PY = $(VENV)/bin/python
CODE = $(strip $(foreach dir,src tests chaos benchmarks examples tools,$(if $(wildcard $(dir)/*.py $(dir)/*/*.py $(dir)/*/*/*.py),$(dir))))
COMPILE = $(PY) -m uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header $(LOCK_ARGS) pyproject.toml

.DEFAULT_GOAL = help
unexport PYTHONDONTWRITEBYTECODE # compiling everything anew at each start takes longer than most commands
.NOTPARALLEL: # the tests come last, so that their closing line is the last line
.PHONY: help demo test lint check fmt docs bench proof audit lock clean

help:
	@echo 'make demo    run the flights example from nothing to its report'
	@echo 'make test    run the tests; PYTEST_ARGS="-k name -x" for some of them'
	@echo 'make lint    format check, ruff, mypy --strict, import contracts'
	@echo 'make check   lint, then test: what a change has to pass'
	@echo 'make fmt     format the code and apply the safe fixes'
	@echo 'make docs    write the generated parts of docs/ anew'
	@echo 'make bench   run the benchmarks'
	@echo 'make proof   try for an hour to break it, and write docs/proof.md anew'
	@echo 'make audit   ask the advisory service about the pinned dependencies'
	@echo 'make lock    renew requirements/*.txt; LOCK_ARGS=--upgrade moves every pin'
	@echo 'make clean   remove caches and build output; environment and runs stay'

demo: $(VENV)/.run
	@$(PY) examples/flights/demo.py

test: $(VENV)/.test
	$(PY) -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy --strict $(CODE)
	$(VENV)/bin/lint-imports --no-logo

check: lint test

fmt: $(VENV)/.test
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

docs: $(VENV)/.test
	@$(PY) tools/docs.py

bench: $(VENV)/.test
	@$(PY) -m benchmarks

proof: $(VENV)/.test
	@$(PY) -m chaos proof

audit: $(VENV)/.test
	@sh tools/audit.sh $(PY) requirements/run.txt

lock: $(VENV)/.test
	$(COMPILE) --extra data -o requirements/run.txt
	$(COMPILE) --extra data --extra encryption --extra http --extra langgraph --extra postgres --extra redis --extra s3 --group test --group lint -c requirements/run.txt -o requirements/dev.txt

clean:
	rm -rf build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name '.?*' -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml tools/bootstrap.sh requirements/run.txt requirements/demo.txt
	@sh tools/bootstrap.sh $(VENV) .run requirements/run.txt requirements/demo.txt

$(VENV)/.test: pyproject.toml tools/bootstrap.sh requirements/dev.txt requirements/demo.txt
	@sh tools/bootstrap.sh $(VENV) .test requirements/dev.txt requirements/demo.txt
