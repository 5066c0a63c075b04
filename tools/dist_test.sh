#!/usr/bin/env bash
# Evaluate on several GPUs of one or more machines: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# Without a GPU it starts that many CPU processes. NNODES, NODE_RANK, MASTER_ADDR and PORT describe several machines.
set -euo pipefail
usage() { sed -n '2,/^set /s/^# //p' "$0"; }
case ${1:-} in -h | --help) usage && exit ;; esac
(($# >= 3)) || { usage >&2 && exit 2; }
config=$1 checkpoint=$2 gpus=$3
exec torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
