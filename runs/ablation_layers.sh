#!/usr/bin/env bash
# The study's table of layers: block of ResNet18 x images per class on CIFAR-10, k 20.
# One cell a line.
#   published    layer 0    layer 1    layer 2    layer 3
#   ipc 1        27.8       28.3       28.0       28.1
#   ipc 10       43.6       42.7       43.0       42.8
#   ipc 50       52.0       52.8       52.6       52.9
# Minutes as in table1.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
$python main_cluster.py --dataset CIFAR10 --layer_idx 0 1 2 3 --num_cluster 20
$python main_BS.py --dataset CIFAR10 --layer_idx 0 --num_cluster 20 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 1 --num_cluster 20 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 2 --num_cluster 20 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 0 --num_cluster 20 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 1 --num_cluster 20 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 2 --num_cluster 20 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 0 --num_cluster 20 --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 1 --num_cluster 20 --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 2 --num_cluster 20 --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 50
