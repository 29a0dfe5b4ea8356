# make run: condense real digits and print a table. make test: lint and all tests. Needs Python 3.10+ and nothing else.
PYTHON ?= python3
BIN := .venv/bin

run: $(BIN)/.installed
	PYTHON=$(BIN)/python bash runs/demo.sh

test: $(BIN)/.installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	CUDA_VISIBLE_DEVICES= $(BIN)/python -m pytest -q --ignore tests/test_gpu.py  # equal to the bit: on the CPU
	$(BIN)/python -m pytest -q tests/test_gpu.py

$(BIN)/.installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -r requirements.txt
	touch $@

$(BIN)/.installed-tests: $(BIN)/.installed requirements-test.txt
	$(BIN)/pip install -q -r requirements-test.txt
	touch $@

.PHONY: run test
