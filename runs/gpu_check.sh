#!/usr/bin/env bash
# First minutes on a GPU: is it right, how fast is it, what do recipes and the study's cells reach?
#   bash runs/gpu_check.sh 480                 # 8 minutes; REFERENCE=<folder> times that code too
#   until bash runs/gpu_check.sh 480; do [ $? = 3 ] || break; done          # until all is done
#   bash runs/gpu_check.sh --collect           # keep what finished: rows of docs/results.md
#   bash runs/gpu_check.sh 240 Digits --model ConvNetD1 --Iteration 1 --num_eval 1     # a try
# It stops after so many seconds with everything saved and exit code 3; the same command continues.
# 0 says that all is done, 1 that some steps failed (named at the end, tried again next time).
# PARTS="parity speed recipes study cells" says which parts, JOBS how many runs side by side.
# Where NVIDIA's MPS can be started, MPS=1 makes runs side by side faster (docs/benchmark.md):
# JOBS=12 MPS=1 served an H100 with 16 processors.
# results/gpu_check/ holds the runs, logs and tables; runs.tar.gz.* is what to carry away.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python} out=results/gpu_check jobs=${JOBS:-4}
mkdir -p "$out"

if [ "${1:-}" = --collect ]; then
    shopt -s nullglob
    parts=("$out"/runs.tar.gz.*)
    ((${#parts[@]})) || { echo "error: no $out/runs.tar.gz.aa: run it first" >&2 && exit 2; }
    rm -rf "$out/unpacked" && mkdir "$out/unpacked"
    cat "${parts[@]}" | tar xzf - -C "$out/unpacked" 2> /dev/null ||
        { echo "error: $out/runs.tar.gz.* is damaged: carry all its parts again" >&2 && exit 2; }
    finished=("$out"/unpacked/runs/*/res_*.pt)
    ((${#finished[@]})) || { echo "error: no run has finished yet" >&2 && exit 2; }
    $python main_report.py --keep "${finished[@]%/*}" || exit
    $python main_report.py --readme README.md README.ko.md --out docs/results.md || exit
    for table in "$out"/*.csv; do echo "for docs/benchmark.md: $table"; done
    exit
fi

limit=${1-480} data=${2:-CIFAR10}
bs="--layer_idx 3 --num_cluster 20"
[ "$data" = CIFAR10 ] && bs+=" --cluster_path docs/clusters" # they come with the project
[[ $limit =~ ^[1-9][0-9]*$ ]] && ((limit >= 20)) ||
    { echo "error: 20 seconds or more, or --collect, not '$limit'" >&2 && exit 2; }
shift $(($# < 2 ? $# : 2))
[[ $jobs =~ ^[1-9][0-9]*$ ]] || { echo "error: JOBS=$jobs is no number of runs" >&2 && exit 2; }
stamps=results/gpu_check.steps own_mps=""
mkdir -p "$stamps" && rm -f "$stamps"/*.waits

# One step, once: its stamp says that it is done. It gets a signal when time is over.
run() {
    local stamp left=$((limit - SECONDS)) code
    stamp=$stamps/$(printf '%s\n' "$data" "$@" | md5sum | cut -c1-12)
    [ -e "$stamp" ] || [ -e "$stamp.failed" ] && return
    ((left > 5)) || { touch "$stamp.waits" && return; }
    echo "+ [$SECONDS s] $*"
    timeout --foreground -s TERM -k 30 "$left" "$@" > "$stamp.log" 2>&1
    code=$?
    if ((code == 0)); then
        tr '\r' '\n' < "$stamp.log" | grep -E '^[A-Za-z0-9]+ [0-9.]+ [±%]|passed|^(DC|BS|DSA) '
        touch "$stamp"
    elif ((code == 124 || code == 143 || SECONDS >= limit)); then
        touch "$stamp.waits"
    else
        echo "failed: $* : $(tail -n 1 "$stamp.log" | tr '\r' '\n' | tail -n 1)" > "$stamp.failed"
    fi
}
# A run beside others.
cell() {
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
    run $python "$1" --dataset "$data" --num_exp 1 --eval_every 0 --save_path "$out/runs" "${@:2}" &
}
# What was learned, in parts of 15 MB. A finished run needs no checkpoint any more.
pack() {
    [ -n "$own_mps" ] && echo quit | nvidia-cuda-mps-control > /dev/null 2>&1
    cat "$stamps"/*.log 2> /dev/null | tr '\r' '\n' > "$out/log.txt"
    mkdir -p "$out/runs"
    ls "$out"/runs/*/res_*.pt 2> /dev/null |
        sed 's|.*/\(runs/[^/]*\)/.*|\1/checkpoint.pt\n\1/end_*|' > "$out/not_needed"
    rm -f "$out"/runs.tar.gz.*
    tar czf - -C "$out" --exclude=lock --exclude='*.png' --exclude-from="$out/not_needed" runs |
        split -b 15M - "$out/runs.tar.gz."
}
# Runs get the signal, too: they save, and then it packs.
stop() {
    trap '' INT TERM
    for job in $(jobs -rp); do pkill -TERM -P "$job"; done
    pkill -TERM -P $$ timeout
    wait
    exit 143
}
trap pack EXIT
trap stop INT TERM
if [ -n "${MPS:-}" ]; then
    export CUDA_MPS_PIPE_DIRECTORY=$PWD/$stamps/mps CUDA_MPS_LOG_DIRECTORY=$PWD/$stamps/mps
    nvidia-cuda-mps-control -d && own_mps=1 || unset CUDA_MPS_PIPE_DIRECTORY
fi

for part in ${PARTS:-parity speed recipes study cells}; do
    case $part in
    parity) # fp32, tf32 and bf16, recorded graphs and compiled passes, against the textbook
        many=$($python -c 'import xdist' 2> /dev/null && echo "-n 4")
        run $python -m pytest -q $many tests/test_gpu.py
        ;;
    speed) # alone on the GPU; the reference only where its folder is given
        reference=${REFERENCE:+--reference $REFERENCE}
        bench="bench.py --dataset $data --repeats 5 --no-textbook"
        run $python $bench --ipc 10 1 50 --compile graphs $reference --out "$out/graphs.csv"
        run $python $bench --ipc 10 --precision tf32 bf16 --out "$out/compiled.csv"
        run $python $bench --ipc 10 --precision tf32 --compile off --out "$out/eager.csv"
        ;;
    recipes) # seeds 1 to 3 of the recipes of time to accuracy
        for recipe in fast tiles; do
            for seed in 1 2 3; do
                common="--recipe $recipe --compile graphs --num_eval 5 --seed $seed"
                cell main.py $common "$@"
                cell main.py --method CAFE $common "$@"
                [ $recipe = tiles ] || cell main.py --method BPTT $common "$@"
                [ $recipe = tiles ] && ten="DM CAFE" || ten="DC IDM"
                for method in $ten; do
                    cell main.py --method $method --ipc 10 --protocol dc $common "$@"
                done
            done
            wait
        done
        ;;
    study) # is BS worse than DC at ipc 10? 100 iterations, the same seeds and networks
        # All real images: what a set is measured against.
        run $python main_eval.py --dataset "$data" --synset full --num_eval 3 \
            --save_path "$out/runs"
        for seed in 1 2 3; do
            hundred="--ipc 10 --Iteration 100 --seed $seed"
            cell main.py --method DC $hundred "$@"
            cell main_BS.py $bs $hundred "$@"
            cell main_BS.py $bs --draw stratified $hundred "$@"
        done
        ;;
    cells) # at full length, one set x 20 networks
        cell main.py --method DC --ipc 10 "$@"
        cell main.py --method DSA --ipc 10 "$@"
        cell main_BS.py $bs --ipc 10 "$@"
        cell main_BS.py $bs --draw stratified --ipc 10 "$@"
        cell main_BS.py $bs --method DSA --ipc 10 "$@"
        cell main.py --method DM --ipc 10 "$@"
        cell main.py --method CAFE --ipc 1 "$@"
        cell main.py --method DC --ipc 50 "$@"
        cell main_BS.py $bs --ipc 50 "$@"
        cell main.py --method DSA --ipc 50 "$@"
        wait
        layers="main_cluster.py --dataset $data --extractor_epochs 12"
        run $python $layers --layer_idx 0 1 2 --num_cluster 20
        run $python $layers --layer_idx 3 --num_cluster 5 10 15 25
        for ipc in 10 50; do
            for layer in 0 1 2; do
                cell main_BS.py --layer_idx $layer --num_cluster 20 --ipc $ipc "$@"
            done
            for k in 5 10 15 25; do
                cell main_BS.py --layer_idx 3 --num_cluster $k --ipc $ipc "$@"
            done
        done
        ;;
    *)
        echo "error: no part $part: parity, speed, recipes, study, cells" >&2
        exit 2
        ;;
    esac
    wait
done
left=$(ls "$stamps"/*.waits 2> /dev/null | wc -l)
((left)) && echo "time is over, $left steps are left: the same command continues" && exit 3
cat "$stamps"/*.failed 2> /dev/null && rm "$stamps"/*.failed && exit 1
echo "all is done: bash runs/gpu_check.sh --collect"
