#!/usr/bin/env bash
# The demo: scikit-learn's real 8x8 digits, condensed by DC to 1 and 10 images per class, beside random real images.
# Under two minutes on two CPU cores; the README shows what it prints.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
digits="--dataset Digits --model ConvNetD1 --save_path results/demo --num_eval 5"
condense="--method DC --num_exp 1 --eval_every 0"
$python main_eval.py --synset random --ipc 1 --num_exp 2 $digits
$python main.py --ipc 1 --Iteration 60 $condense $digits
$python main_eval.py --synset random --ipc 10 --num_exp 2 $digits
$python main.py --ipc 10 --init real --Iteration 10 --inner_loop 10 $condense $digits
echo
$python main_report.py --save_path results/demo
$python -m figures.grid --out results/demo/digits.png results/demo/random_*_1ipc_*/res_*.pt \
    results/demo/DC_*_1ipc_*/res_*.pt results/demo/random_*_10ipc_*/res_*.pt results/demo/DC_*_10ipc_*/res_*.pt
