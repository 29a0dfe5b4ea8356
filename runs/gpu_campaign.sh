#!/usr/bin/env bash
# The cells that two CPU cores cannot reach: parity and benchmark on this GPU, then the study at 10
# and 50 images per class, most informative cells first, one set x 20 networks each.
# It stops after so many seconds with everything saved and exit code 3; the same command continues.
# 0 says that all is done, 1 that some steps failed (named at the end, tried again next time).
#   until bash runs/gpu_campaign.sh 480; do [ $? = 3 ] || break; done
#   bash runs/gpu_campaign.sh 480 Digits --model ConvNetD1 --Iteration 1 --num_eval 1   # a try
# --compile on replays CUDA graphs there; the parity tests come first.
# REFERENCE=<folder of the public reference implementation> adds it to the benchmark.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python} limit=${1:-480} data=${2:-CIFAR10}
shift $(($# < 2 ? $# : 2))
stamps=results/campaign.$data && mkdir -p "$stamps"
reference=""
[ -z "${REFERENCE:-}" ] || reference="--reference $REFERENCE"

run() {
    local left=$((limit - SECONDS)) stamp
    stamp=$stamps/$(printf '%s\n' "$@" | md5sum | cut -c1-12)
    [ -e "$stamp" ] || [ -e "$stamp.failed" ] && return
    ((left > 5)) || exit 3
    echo "+ $*"
    timeout -s TERM -k 60 "$left" "$@"
    local code=$?
    ((code == 124 || code == 143)) && exit 3
    if ((code == 0)); then touch "$stamp"; else echo "failed: $*" > "$stamp.failed"; fi
}
cell() {
    run $python "$1" --dataset "$data" --num_exp 1 --eval_every 0 --compile on "${@:2}"
}

run $python -m pytest -q tests/test_gpu.py
if [ "$data" = CIFAR10 ]; then
    run $python bench.py --ipc 10 --repeats 5 --out results/bench_gpu_10.csv $reference
    run $python bench.py --ipc 50 --repeats 5 --out results/bench_gpu_50.csv $reference
    run $python bench.py --ipc 1 --repeats 5 --out results/bench_gpu_1.csv $reference
    run $python bench.py --ipc 200 --repeats 5 --only_match $reference \
        --out results/bench_gpu_200.csv
    run $python bench.py --ipc 10 --repeats 5 --no-compile --no-textbook \
        --out results/bench_gpu_eager.csv
fi
cell main.py --method DC --ipc 10 "$@"
cell main.py --method DSA --ipc 10 "$@"
run $python main_cluster.py --dataset "$data" --layer_idx 3 --num_cluster 20
bs="--layer_idx 3 --num_cluster 20"
cell main_BS.py $bs --ipc 10 "$@"
cell main_BS.py $bs --method DSA --ipc 10 "$@"
cell main_BS.py $bs --draw stratified --ipc 10 "$@"
cell main_BS.py $bs --draw centroid --ipc 10 "$@"
cell main.py --method DC --ipc 50 "$@"
cell main_BS.py $bs --ipc 50 "$@"
cell main.py --method DSA --ipc 50 "$@"
cell main.py --method DC --ipc 10 --precision fp32 "$@"
run $python main_cluster.py --dataset "$data" --layer_idx 0 1 2 --num_cluster 20
run $python main_cluster.py --dataset "$data" --layer_idx 3 --num_cluster 5 10 15 25
for ipc in 10 50; do
    for layer in 0 1 2; do
        cell main_BS.py --layer_idx $layer --num_cluster 20 --ipc $ipc "$@"
    done
    for k in 5 10 15 25; do
        cell main_BS.py --layer_idx 3 --num_cluster $k --ipc $ipc "$@"
    done
done
cell main.py --method DM --ipc 10 "$@"
if cat "$stamps"/*.failed 2> /dev/null; then
    rm "$stamps"/*.failed
    exit 1
fi
echo "all cells are finished: main_report.py writes their tables,"
echo "runs/figures.sh --ipc 10 their figures"
