# make run: condense real digits and print a table. make test: lint and all tests.
# Both need Python 3.10+ and nothing else: no data, no GPU, no network once packages are installed.
PYTHON ?= python3
BIN := .venv/bin
# Two workers with one thread each: threads that wait for each other crawl on a loaded machine.
WORKERS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1

run: $(BIN)/.installed
	PYTHON=$(BIN)/python bash runs/demo.sh

# The last line is the summary of the tests that ran. On the CPU results are equal to the bit.
test: $(BIN)/.installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q tests/test_gpu.py
	CUDA_VISIBLE_DEVICES= $(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal \
	    --ignore tests/test_gpu.py

$(BIN)/.installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -r requirements.txt
	touch $@

$(BIN)/.installed-tests: $(BIN)/.installed requirements-test.txt
	$(BIN)/pip install -q -r requirements-test.txt
	touch $@

.PHONY: run test
