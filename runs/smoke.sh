#!/usr/bin/env bash
# The grid of the study in small on scikit-learn's digits: all tables and all figures in about three
# minutes on two CPU cores.
# Its numbers say that everything runs, no more: few iterations, one set, two networks a cell.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
out="results/smoke"
digits="--dataset Digits --model ConvNetD1 --save_path $out --num_exp 1 --num_eval 2"
match="--Iteration 20 --eval_every 10"
cluster="--cluster_path $out/clustering"
$python main_cluster.py --dataset Digits --layer_idx 3 --num_cluster 5 10 15 20 25 $cluster
$python main_cluster.py --dataset Digits --layer_idx 0 1 2 --num_cluster 20 $cluster
$python main_eval.py --synset random --ipc 1 $digits
$python main.py --method mean --ipc 1 $digits
$python main.py --method DC --ipc 1 $match $digits
$python main.py --method DSA --ipc 1 $match $digits
$python main_BS.py --layer_idx 3 --num_cluster 5 --ipc 1 $match $digits $cluster
$python main_BS.py --layer_idx 3 --num_cluster 10 --ipc 1 $match $digits $cluster
$python main_BS.py --layer_idx 3 --num_cluster 15 --ipc 1 $match $digits $cluster
$python main_BS.py --layer_idx 3 --num_cluster 20 --ipc 1 $match $digits $cluster
$python main_BS.py --layer_idx 3 --num_cluster 25 --ipc 1 $match $digits $cluster
$python main_BS.py --layer_idx 0 --num_cluster 20 --ipc 1 $match $digits $cluster
$python main_BS.py --layer_idx 1 --num_cluster 20 --ipc 1 $match $digits $cluster
$python main_BS.py --layer_idx 2 --num_cluster 20 --ipc 1 $match $digits $cluster
$python main_eval.py --eval_mode P --epoch_eval_train 50 $digits --synset $out/DC_*_1ipc_*/res_*.pt
study="--results $out --dataset Digits --model ConvNetD1 --Iteration 20"
$python main_report.py $study --out $out/results.md
bash runs/figures.sh $study --cluster_path $out/clustering --num_cluster 5
