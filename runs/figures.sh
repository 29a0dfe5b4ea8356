#!/usr/bin/env bash
# Every figure of the study from the runs of results/: CIFAR-10, 1 image per class. The command of
# each is printed; a figure whose runs are missing says so in one line, and the others are drawn.
# Other runs: bash runs/figures.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
${PYTHON:-python} -m figures.study "$@"
