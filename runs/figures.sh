#!/usr/bin/env bash
# Every figure of the study from the runs of a folder, into its figures/. A figure whose runs are missing says so in
# one line, and the others are drawn.
#   bash runs/figures.sh [results folder] [data set] [clusters] [folder of clusters] [class]
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
results=${1:-results} data=${2:-CIFAR10} k=${3:-20} clustering=${4:-clustering} class=${5:-8}
out=$results/figures
cluster="--dataset $data --layer_idx 3 --num_cluster $k --cluster_path $clustering --class_idx $class"
dc=$(echo $results/DC_${data}_*_1ipc_*) bs=$(echo $results/BS_${data}_*_1ipc_*layer_idx=3_num_*)
dsa=$(echo $results/DSA_${data}_*_1ipc_*) layers=$(ls -d $results/BS_${data}_*_1ipc_* | grep -v num_cluster=)  # k 20
first=${bs%% *}
$python -m figures.grid ${dc%% *}/res_*.pt $first/res_*.pt --out $out/grid.png
$python -m figures.curves loss $dc $dsa $first --out $out/loss.png
$python -m figures.curves norms $dc $dsa $first --out $out/norms.png
$python -m figures.curves norms $bs --by num_cluster --out $out/norms_by_k.png
$python -m figures.curves norms $layers --by layer_idx --out $out/norms_by_layer.png
$python -m figures.curves accuracy $dc $dsa $first --out $out/accuracy.png
$python -m figures.clusters $cluster --out $out/clusters.png
$python -m figures.method $first/res_*.pt $cluster --out $out/batch_sampling.png
$python -m figures.embedding ${dc%% *}/res_*.pt $first/res_*.pt $cluster --out $out/embedding.png
$python -m figures.heatmap $results/eval_*/res_*.pt --out $out/networks.png
