#!/usr/bin/env bash
# The contest: seconds of condensing until DC's published accuracy (28.3 ± 0.5 % at ipc 1,
# 44.9 ± 0.5 % at ipc 10).
#   bash runs/speedrun.sh                                          # two CPU cores: hours
#   REFERENCE=path/to/DatasetCondensation bash runs/speedrun.sh    # beside the public reference
# The recipes fix their iterations beforehand. Evaluation takes most of the time and is not counted.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
out=results/speedrun
reference=""
[ -z "${REFERENCE:-}" ] || reference="--reference $REFERENCE"
contest="--to_accuracy --dataset CIFAR10 --seeds 1 2 3 4 5 $reference"
$python bench.py $contest --ipc 1 --method DC IDC CAFE BPTT --recipe fast --out ${out}_fast.csv
$python bench.py $contest --ipc 1 --method DC IDC CAFE --recipe tiles --out ${out}_tiles.csv
$python bench.py $contest --ipc 10 --method DM CAFE --recipe tiles --out ${out}_10.csv
$python bench.py $contest --ipc 10 --method DC IDM --recipe fast --out ${out}_10_plain.csv
