#!/bin/sh
# One workflow per material on a LaunchPad; here one worker for predictions and two for VASP, on
# this machine. On a cluster, leave the three rlaunch lines to qlaunch: see docs/campaigns.md.
set -eu
cd "$(dirname "$0")"
cluster=$(cd "${CLUSTER:-../cluster}" && pwd)
export JOBFLOW_CONFIG_FILE="$cluster/jobflow.yaml" FW_CONFIG_FILE="$cluster/FW_config.yaml"
launchpad="$cluster/my_launchpad.yaml"
# Workers run the executable that is configured here: VASP_CMD and PMG_VASP_PSP_DIR, or, without
# VASP, MLCHARGE_VASP_CMD=gpaw-vasp. Where there is none, nothing is submitted.

mlcharge campaign submit SPEC.yaml --launchpad "$launchpad"
rlaunch -s -l "$launchpad" -w "$cluster/gpu_fworker.yaml" rapidfire --sleep 5 &
rlaunch -s -l "$launchpad" -w "$cluster/cpu_fworker.yaml" rapidfire --sleep 5 &
rlaunch -s -l "$launchpad" -w "$cluster/cpu_fworker.yaml" rapidfire --sleep 5 &
wait
mlcharge campaign status SPEC.yaml --launchpad "$launchpad"
mlcharge campaign report SPEC.yaml
