#!/usr/bin/env bash
# The demo on scikit-learn's real 8x8 digits, 5 images per class: DC and batch sampling (BS) beside
# random real images and class means. Under two minutes on two CPU cores.
# The setting was chosen on seed 0; what is shown is seed 1. docs/log.md has the tries.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
out="results/demo"
digits="--ipc 5 --dataset Digits --model MLP --save_path $out --num_exp 3 --num_eval 5 --seed 1"
loops="--outer_loop 10 --inner_loop 10 --Iteration 8 --eval_every 0"
match="--init real --lr_img 0.2 $loops $digits"
clusters="--layer_idx 3 --num_cluster 5 --extractor_epochs 5 --cluster_path $out/clustering"

# Two jobs at a time, one thread each: what goes to the background writes to a file.
export OMP_NUM_THREADS=1
mkdir -p "$out"
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
finish() { wait "$1" || { cat "$2" >&2; exit 1; }; }

{
    $python main_eval.py --synset random $digits
    $python main.py --method mean $digits
    $python main.py --method DC $match
} > "$out/first.txt" 2>&1 &
first=$!
$python main_cluster.py --dataset Digits $clusters
$python main_BS.py --draw stratified $match $clusters > "$out/second.txt" 2>&1 &
second=$!
$python main_BS.py $match $clusters
finish $first "$out/first.txt"
finish $second "$out/second.txt"
echo
$python main_report.py --results "$out"
$python -m figures.grid --out "$out/digits.png" "$out"/random_*/res_*.pt "$out"/mean_*/res_*.pt \
    "$out"/DC_*/res_*.pt "$out"/BS_*Iteration=8_eval*/res_*.pt "$out"/BS_*draw=stratified*/res_*.pt
$python -m figures.clusters --dataset Digits --class_idx 9 $clusters --out "$out/clusters.png"
