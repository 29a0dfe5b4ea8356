#!/usr/bin/env bash
# Table 1 of the study: methods x images per class on CIFAR-10, ConvNet. One cell a line.
#   published    ipc 1         ipc 10        ipc 50
#   DC           28.3 ± 0.5    44.9 ± 0.5    53.9 ± 0.5
#   DSA          28.8 ± 0.7    52.1 ± 0.5    60.6 ± 0.5
#   BS           28.1 ± 0.6    42.8 ± 0.6    52.9 ± 0.7
# A set at ipc 1 takes half an hour on two CPU cores (docs/benchmark.md); 5 sets a cell. ipc 10 and
# 50 are a GPU's work.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
$python main_cluster.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20
$python main_eval.py --synset random --dataset CIFAR10 --ipc 1
$python main_eval.py --synset random --dataset CIFAR10 --ipc 10
$python main_eval.py --synset random --dataset CIFAR10 --ipc 50
$python main.py --dataset CIFAR10 --method mean --ipc 1 --num_exp 1
$python main.py --dataset CIFAR10 --method mean --ipc 10
$python main.py --dataset CIFAR10 --method mean --ipc 50
$python main.py --dataset CIFAR10 --method DC --ipc 1
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 1
$python main.py --dataset CIFAR10 --method DSA --ipc 1
$python main.py --dataset CIFAR10 --method DC --ipc 10
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 10
$python main.py --dataset CIFAR10 --method DSA --ipc 10
$python main.py --dataset CIFAR10 --method DC --ipc 50
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 50
$python main.py --dataset CIFAR10 --method DSA --ipc 50
# Not in the paper.
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 1 --draw stratified
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 10 --draw stratified
$python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20 --ipc 50 --draw stratified
$python main_BS.py --dataset CIFAR10 --method DSA --layer_idx 3 --num_cluster 20 --ipc 1
$python main_BS.py --dataset CIFAR10 --method DSA --layer_idx 3 --num_cluster 20 --ipc 10
$python main_BS.py --dataset CIFAR10 --method DSA --layer_idx 3 --num_cluster 20 --ipc 50
