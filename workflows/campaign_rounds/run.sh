#!/bin/sh
# Choose crystals from pools of structures, and run them in rounds; again after any interruption.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ -f "$here/structures.json.gz" ] || python "$here/choose.py" "$@" --out "$here/structures.json.gz"
cd "$here"
export OMP_NUM_THREADS=1
exec mlcharge campaign run SPEC.yaml --workers "${WORKERS:-0}" --out "${OUT:-grown}"
