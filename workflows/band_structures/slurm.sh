#!/bin/bash
#SBATCH --nodes=1
#SBATCH --ntasks=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
# One node, eight materials at a time, eight cores each. When the time is over the running
# materials are stopped; submit the same script again to run the missing ones.
set -eu
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")}"
export OMP_NUM_THREADS=1
# The executable, unless it is configured elsewhere; without any, nothing runs. VASP:
# export VASP_CMD="srun --exact --ntasks=8 --cpus-per-task=1 vasp_std"
# export PMG_VASP_PSP_DIR="$HOME/potcars"
# or, without VASP, one core each:
# export MLCHARGE_VASP_CMD=gpaw-vasp
exec mlcharge campaign run SPEC.yaml --workers "${WORKERS:-8}"
