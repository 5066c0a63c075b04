#!/usr/bin/env bash
# Evaluate on several GPUs of one or more machines: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# Without a GPU it starts that many CPU processes. NNODES, NODE_RANK, MASTER_ADDR and PORT describe several machines.
set -euo pipefail
usage() { sed -n '2,/^set /s/^# //p' "$0"; }
case ${1:-} in -h | --help) usage && exit ;; esac
(($# >= 3)) || { usage >&2 && exit 2; }
config=$1 checkpoint=$2 gpus=$3
exec python -m menet_mm.engine.ranks "$gpus" "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
