#!/usr/bin/env bash
# The demo on scikit-learn's real 8x8 digits: extractor, clusters, DC and batch sampling beside random real images.
# Under two minutes on two CPU cores; the README shows what it prints.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
digits="--dataset Digits --model ConvNetD1 --save_path results/demo --num_eval 3"
condense="--num_exp 1 --eval_every 0"
clusters="--layer_idx 3 --num_cluster 5 --cluster_path results/demo/clustering"
$python main_cluster.py --dataset Digits $clusters
$python main_eval.py --synset random --ipc 1 --num_exp 2 $digits
$python main.py --method DC --ipc 1 --Iteration 40 $condense $digits
$python main_BS.py --ipc 1 --Iteration 40 $condense $digits $clusters
$python main_BS.py --draw stratified --ipc 1 --Iteration 40 $condense $digits $clusters
$python main_eval.py --synset random --ipc 10 --num_exp 1 $digits
$python main.py --method DC --ipc 10 --init real --Iteration 8 --inner_loop 10 $condense $digits
echo
$python main_report.py --results results/demo
$python -m figures.grid --out results/demo/digits.png results/demo/random_*_1ipc_*/res_*.pt \
    results/demo/DC_*_1ipc_*/res_*.pt results/demo/BS_*_Iteration=40_eval*/res_*.pt results/demo/BS_*_draw=*/res_*.pt \
    results/demo/random_*_10ipc_*/res_*.pt results/demo/DC_*_10ipc_*/res_*.pt
$python -m figures.clusters --dataset Digits $clusters --class_idx 9 --out results/demo/clusters.png
