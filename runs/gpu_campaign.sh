#!/usr/bin/env bash
# The cells that two CPU cores cannot reach: parity and benchmark on this GPU, extractor and clusters, then the study at 10 and
# 50 images per class, most informative cells first, one set x 20 networks each. It stops after so many seconds with everything
# saved and exit code 3; the same command goes on, 0 says that all is done.
#   until bash runs/gpu_campaign.sh 480; do [ $? = 3 ] || break; done
#   bash runs/gpu_campaign.sh 480 Digits --model ConvNetD1 --save_path results/campaign --Iteration 1 --num_eval 1   # a try
# --compile on replays CUDA graphs there; the parity tests come first.
# REFERENCE=<folder of the public reference implementation> adds it to the benchmark.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python} limit=${1:-480} data=${2:-CIFAR10}
shift $(($# < 2 ? $# : 2))
stamps=results/campaign.$data && mkdir -p "$stamps"

run() {
    local stamp=$stamps/$(printf '%s\n' "$@" | md5sum | cut -c1-12) left=$((limit - SECONDS))
    [ -e "$stamp" ] && return
    ((left > 5)) || exit 3
    echo "+ $*"
    timeout -s TERM -k 60 "$left" "$@"
    local code=$?
    ((code == 124 || code == 143)) && exit 3
    ((code == 0)) || exit "$code"
    touch "$stamp"
}
cell() {
    run $python "$1" --dataset "$data" --num_exp 1 --eval_every 0 --compile on "${@:2}"
}

run $python -m pytest -q tests/test_gpu.py tests/test_gradient.py tests/test_passes.py
measure="--ipc 1 10 50 200 --repeats 5 --out results/bench_gpu.csv"
if [ "$data" = CIFAR10 ] && [ -n "${REFERENCE:-}" ]; then
    run $python bench.py $measure --reference "$REFERENCE"
elif [ "$data" = CIFAR10 ]; then
    run $python bench.py $measure
fi
[ "$data" = CIFAR10 ] && run $python bench.py --ipc 10 --no-compile --no-textbook --out results/bench_gpu_eager.csv
run $python main_cluster.py --dataset "$data" --layer_idx 0 1 2 3 --num_cluster 20
run $python main_cluster.py --dataset "$data" --layer_idx 3 --num_cluster 5 10 15 25
bs="--layer_idx 3 --num_cluster 20"
cell main.py --method DC --ipc 10 "$@"
cell main_BS.py $bs --ipc 10 "$@"
cell main.py --method DSA --ipc 10 "$@"
cell main_BS.py $bs --method DSA --ipc 10 "$@"
cell main_BS.py $bs --draw stratified --ipc 10 "$@"
cell main_BS.py $bs --draw centroid --ipc 10 "$@"
cell main.py --method DC --ipc 50 "$@"
cell main_BS.py $bs --ipc 50 "$@"
cell main.py --method DSA --ipc 50 "$@"
cell main.py --method DC --ipc 10 --precision fp32 "$@"
for ipc in 10 50; do
    for layer in 0 1 2; do
        cell main_BS.py --layer_idx $layer --num_cluster 20 --ipc $ipc "$@"
    done
    for k in 5 10 15 25; do
        cell main_BS.py --layer_idx 3 --num_cluster $k --ipc $ipc "$@"
    done
done
cell main.py --method DM --ipc 10 "$@"
echo "all cells are finished; main_report.py writes their tables (runs/README.md)"
