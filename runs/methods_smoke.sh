#!/usr/bin/env bash
# Every method at 1 and 10 images per class on scikit-learn's digits: seven minutes on two
# CPU cores. Its numbers say that everything runs, no more: few iterations, one set, two networks.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
out="results/methods"
digits="--dataset Digits --model ConvNetD1 --save_path $out --num_exp 1 --num_eval 2"
cluster="--cluster_path $out/clustering"
chosen="--ipc 1 $digits"
one="--ipc 1 --eval_every 0 $digits"
ten="--ipc 10 --init real --eval_every 0 $digits"
match="--outer_loop 10 --inner_loop 10 --Iteration 5 $ten"
idc="--Iteration 3 --outer_loop 6 --n_data 64 --lr_img 0.5 --epoch_eval_train 100"
idm="--method IDM --Iteration 60 --factor 1 --num_nets 4 --net_every 20 --n_data 64 --batch_real 64"
k5="--layer_idx 3 --num_cluster 5 $cluster"
$python main_cluster.py --dataset Digits $k5
$python main.py --method random $chosen
$python main.py --method mean $chosen
$python main.py --method herding $chosen $cluster
$python main.py --method kcenter $chosen $cluster
$python main.py --method kmeans $chosen $cluster
$python main.py --method forgetting $chosen $cluster
$python main.py --method DC --Iteration 40 $one
$python main.py --method DC --Iteration 40 --reduce avgpool1 $one
$python main.py --method DC --Iteration 40 --reduce maxpool1 $one
$python main.py --method DC --Iteration 40 --reduce mask --mask_quantile 0.9 $one
$python main.py --method DC --Iteration 40 --level inter $one
$python main.py --method DC --Iteration 40 --level both $one
$python main_BS.py --Iteration 40 $one $k5
$python main.py --method DSA --Iteration 40 --epoch_eval_train 300 $one
$python main.py --method DM --Iteration 200 --epoch_eval_train 300 $one
$python main_BS.py --method DM --Iteration 200 --epoch_eval_train 300 $one $k5
$python main.py $idm --ce_weight 0.02 --epoch_eval_train 100 $one
$python main.py --method DD --Iteration 200 --lr_img 0.05 --lr_net 0.05 $one
$python main.py --method BPTT --Iteration 40 --inner_loop 15 $one
$python main.py --method DC --Iteration 40 --draw representative --batch_real 32 $one
$python main.py --method IDC $idc $one
$python main.py --method DREAM $idc $one
cafe="--method CAFE --batch_real 32 --outer_loop 10 --inner_loop 3"
kip="--method KIP --batch_real 100 --Iteration 100"
$python main.py $cafe --Iteration 10 $one
$python main.py $cafe --Iteration 10 --protocol dc --dsa_strategy crop_scale_rotate $one
$python main.py $kip $one
$python main.py $kip --learn_labels $one
$python main.py --method random --ipc 10 $digits
$python main.py --method mean --ipc 10 $digits
$python main.py --method herding --ipc 10 $digits $cluster
$python main.py --method kcenter --ipc 10 $digits $cluster
$python main.py --method kmeans --ipc 10 $digits $cluster
$python main.py --method forgetting --ipc 10 $digits $cluster
$python main.py --method DC $match
$python main.py --method DC --level both --schedule overfit $match
$python main_BS.py $match $k5
$python main.py --method DSA --epoch_eval_train 300 $match
$python main.py --method DM --Iteration 200 --epoch_eval_train 300 $ten
$python main.py --method DD --Iteration 60 --lr_img 0.05 --lr_net 0.05 $ten
$python main.py --method BPTT --Iteration 20 --inner_loop 15 $ten
$python main.py --method IDC --factor 1 $idc $ten
$python main.py $cafe --Iteration 5 $ten
$python main.py $kip $ten
$python main.py --method mean --protocol idc --epoch_eval_train 100 --ipc 10 $digits
echo
$python main_report.py --results $out
