#!/usr/bin/env bash
# Many runs side by side on one GPU, for so many seconds; the same command goes on with those that are not done.
#
#     bash benchmarks/on_a_gpu.sh 560 runs/gpu < runs.txt
#
# A line of runs.txt is a name, the seeds, and what `mbpo train` is given for them:
#
#     hopper  0-4  Hopper-v4 --algo mbpo-dh --steps 40000 --eval-freq 2500
#
# Runs go to runs/gpu/NAME/seed-NN and stop at a checkpoint, each when the work that it is at is done. When they
# begin, the first seed of each line does so alone, since seeds that begin at once would each compile the same; the
# others follow when it has learned for the first time, or is gone. The exit status is 1 if a run failed.
set -euo pipefail
limit=$1 out=$2
export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda} XLA_PYTHON_CLIENT_PREALLOCATE=false OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
mbpo=${MBPO:-mbpo}
time_is_up=3 # Exit status of a run that --max-time has stopped.
pids=()

train() { # NAME SEED OPTIONS...
    local folder left=$((limit - SECONDS))
    folder=$out/$1/seed-$(printf %02d "$2")
    mkdir -p "$out/$1"
    if ((left < 1)); then
        return
    elif grep -qs '"state": "finished"' "$folder/status.json"; then
        echo "$folder: done"
        return
    elif [[ -e $folder/config.json ]]; then
        $mbpo train --resume "$folder" --max-time ${left}s --final-episodes 0 >>"$folder.log" 2>&1 </dev/null &
    else
        $mbpo train "${@:3}" --seed "$2" --max-time ${left}s --final-episodes 0 --out "$folder" >"$folder.log" 2>&1 </dev/null &
    fi
    pids+=($!)
}

stop() {
    kill "${pids[@]}" 2>/dev/null || true
    wait
    exit 143
}
trap stop INT TERM

mapfile -t lines < <(grep -v '^ *\(#\|$\)')
if command -v nvidia-cuda-mps-control >/dev/null && nvidia-cuda-mps-control -d; then
    trap 'echo quit | nvidia-cuda-mps-control' EXIT # One that ran before is left running.
fi
firsts=()
for line in "${lines[@]}"; do
    read -r name seeds options <<<"$line"
    read -ra options <<<"$options"
    started=${#pids[@]}
    train "$name" "${seeds%-*}" "${options[@]}"
    firsts+=("${pids[$started]:-}")
done
for i in "${!lines[@]}"; do
    read -r name seeds options <<<"${lines[$i]}"
    read -ra options <<<"$options"
    first=$out/$name/seed-$(printf %02d "${seeds%-*}")
    while [[ -n ${firsts[$i]} ]] && kill -0 "${firsts[$i]}" 2>/dev/null && ! grep -qs '"model_holdout_error"\|"critic_loss"' "$first/metrics.jsonl"; do
        sleep 1
    done
    for ((seed = ${seeds%-*} + 1; seed <= ${seeds#*-}; seed++)); do
        train "$name" $seed "${options[@]}"
    done
done
failed=0
for pid in "${pids[@]}"; do
    status=0
    wait "$pid" || status=$?
    ((status == 0 || status == time_is_up)) || failed=1
done
tail -qn 1 "$out"/*/*.log
exit $failed
