#!/usr/bin/env bash
# The other methods of the shelf on CIFAR-10: coresets, gradient reductions and levels, DM, DD.
# One cell a line.
#   published      ipc 1         ipc 10        ipc 50
#   herding        21.5 ± 1.2    31.6 ± 0.7    40.4 ± 0.6
#   k-center       21.5 ± 1.3    14.7 ± 0.9    27.0 ± 1.4
#   forgetting     13.5 ± 1.2    23.3 ± 1.0    23.3 ± 1.1
#   DM             26.0 ± 0.8    48.9 ± 0.6    63.0 ± 0.4
#   DD (AlexNet)                 36.8 ± 1.2
# Minutes on two CPU cores: 2 to choose a coreset; 7 more, once, for the ConvNet that gives features
# and counts forgetting; 2, 6 and about 30 to evaluate a coreset (ipc 1, 10, 50); 6 for each line of
# reductions and levels. 20000 iterations of DM, and DD, are a GPU's work.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
short="--dataset CIFAR10 --method DC --ipc 1 --num_exp 1 --eval_every 0 --Iteration 200"
$python main.py --dataset CIFAR10 --method herding --ipc 1 --num_exp 1
$python main.py --dataset CIFAR10 --method kcenter --ipc 1 --num_exp 1
$python main.py --dataset CIFAR10 --method kmeans --ipc 1 --num_exp 1
$python main.py --dataset CIFAR10 --method herding --ipc 1 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method kcenter --ipc 1 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method kmeans --ipc 1 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method forgetting --ipc 1 --num_exp 1
$python main.py --dataset CIFAR10 --method herding --ipc 10 --num_exp 1
$python main.py --dataset CIFAR10 --method kcenter --ipc 10 --num_exp 1
$python main.py --dataset CIFAR10 --method kmeans --ipc 10 --num_exp 1
$python main.py --dataset CIFAR10 --method herding --ipc 10 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method kcenter --ipc 10 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method kmeans --ipc 10 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method forgetting --ipc 10 --num_exp 1
$python main.py --dataset CIFAR10 --method herding --ipc 50 --num_exp 1
$python main.py --dataset CIFAR10 --method kcenter --ipc 50 --num_exp 1
$python main.py --dataset CIFAR10 --method kmeans --ipc 50 --num_exp 1
$python main.py --dataset CIFAR10 --method herding --ipc 50 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method kcenter --ipc 50 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method kmeans --ipc 50 --num_exp 1 --feature_net ConvNet
$python main.py --dataset CIFAR10 --method forgetting --ipc 50 --num_exp 1
$python main.py $short
$python main.py $short --reduce avgpool1
$python main.py $short --reduce avgpool2
$python main.py $short --reduce maxpool1
$python main.py $short --reduce maxpool2
$python main.py $short --reduce mask
$python main.py $short --level inter
$python main.py $short --level both
$python main.py --dataset CIFAR10 --method DM --ipc 1 --num_exp 1 --eval_every 0 --Iteration 1000
$python main.py --dataset CIFAR10 --method DM --ipc 10 --num_exp 1 --eval_every 0 --Iteration 1000
$python main.py --dataset CIFAR10 --method DM --ipc 1
$python main.py --dataset CIFAR10 --method DM --ipc 10
$python main.py --dataset CIFAR10 --method DM --ipc 50
$python main.py --dataset CIFAR10 --method DD --model AlexNet --ipc 10
