#!/usr/bin/env bash
# The study's table of the number of clusters: k x images per class on CIFAR-10, layer 3.
# One cell a line.
#   published    k 5     k 10    k 15    k 20    k 25
#   ipc 1        28.0    27.6    28.1    28.1    28.6
#   ipc 10       42.6    43.1    43.1    42.8    42.8
#   ipc 50       53.5    53.3    52.7    52.9    53.3
# The lines with --draw equal are not in the study: DC with batches as large as those of k 20 and 25
# (below batch_real), but of the whole class. Minutes as in table1.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
$python main_cluster.py --dataset CIFAR10 --layer_idx 3 --num_cluster 5 10 15 20 25
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 5 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 10 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 15 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 25 --ipc 1
$python main.py --dataset CIFAR10 --method DC --ipc 1 --draw equal --layer_idx 3 --num_cluster 20
$python main.py --dataset CIFAR10 --method DC --ipc 1 --draw equal --layer_idx 3 --num_cluster 25
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 5 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 10 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 15 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 25 --ipc 10
$python main.py --dataset CIFAR10 --method DC --ipc 10 --draw equal --layer_idx 3 --num_cluster 20
$python main.py --dataset CIFAR10 --method DC --ipc 10 --draw equal --layer_idx 3 --num_cluster 25
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 5 --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 10 --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 15 --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 25 --ipc 50
$python main.py --dataset CIFAR10 --method DC --ipc 50 --draw equal --layer_idx 3 --num_cluster 20
$python main.py --dataset CIFAR10 --method DC --ipc 50 --draw equal --layer_idx 3 --num_cluster 25
