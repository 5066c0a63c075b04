#!/usr/bin/env bash
# Train on several GPUs of one or more machines: tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# Without a GPU it starts that many CPU processes. NNODES, NODE_RANK, MASTER_ADDR and PORT describe several machines.
set -euo pipefail
usage() { sed -n '2,/^set /s/^# //p' "$0"; }
case ${1:-} in -h | --help) usage && exit ;; esac
(($# >= 2)) || { usage >&2 && exit 2; }
config=$1 gpus=$2
exec python -m menet_mm.engine.ranks "$gpus" "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
