#!/usr/bin/env bash
# Every method at 1 and 10 images per class on scikit-learn's digits, one table: six minutes on two CPU cores. Its numbers
# say that everything runs, no more: few iterations, one set, two networks a cell.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
out="results/methods"
digits="--dataset Digits --model ConvNetD1 --save_path $out --num_exp 1 --num_eval 2 --eval_every 0"
cluster="--cluster_path $out/clustering"
one="--ipc 1 $digits"
ten="--ipc 10 --init real $digits"
match="--ipc 10 --init real --outer_loop 10 --inner_loop 10 --Iteration 5 $digits"
$python main_cluster.py --dataset Digits --layer_idx 3 --num_cluster 5 $cluster
$python main.py --method random $one
$python main.py --method herding $one $cluster
$python main.py --method kcenter $one $cluster
$python main.py --method kmeans $one $cluster
$python main.py --method forgetting $one $cluster
$python main.py --method DC --Iteration 40 $one
$python main.py --method DC --Iteration 40 --reduce avgpool1 $one
$python main.py --method DC --Iteration 40 --reduce maxpool1 $one
$python main.py --method DC --Iteration 40 --reduce mask --mask_quantile 0.9 $one
$python main.py --method DC --Iteration 40 --level inter $one
$python main.py --method DC --Iteration 40 --level both $one
$python main_BS.py --layer_idx 3 --num_cluster 5 --Iteration 40 $one $cluster
$python main.py --method DSA --Iteration 40 --epoch_eval_train 300 $one
$python main.py --method DM --Iteration 200 --epoch_eval_train 300 $one
$python main_BS.py --method DM --layer_idx 3 --num_cluster 5 --Iteration 200 --epoch_eval_train 300 $one $cluster
$python main.py --method DD --Iteration 200 --lr_img 0.05 --lr_net 0.05 $one
$python main.py --method random --ipc 10 $digits
$python main.py --method herding --ipc 10 $digits $cluster
$python main.py --method kcenter --ipc 10 $digits $cluster
$python main.py --method kmeans --ipc 10 $digits $cluster
$python main.py --method forgetting --ipc 10 $digits $cluster
$python main.py --method DC $match
$python main.py --method DC --level both --overfit 0.5 $match
$python main_BS.py --layer_idx 3 --num_cluster 5 $match $cluster
$python main.py --method DSA --epoch_eval_train 300 $match
$python main.py --method DM --Iteration 200 --epoch_eval_train 300 $ten
$python main.py --method DD --Iteration 60 --lr_img 0.05 --lr_net 0.05 $ten
echo
$python main_report.py --results $out
