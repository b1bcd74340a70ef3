#!/bin/bash
# Runs the driver itself as a small job, where login nodes end long processes: sbatch driver.sh
# It waits for the workers that it submits, so its wall time must cover the whole run; if it does not, submit it again:
# the same call continues the run.
#SBATCH --job-name=bioimage_py-driver
#SBATCH --partition=cpu
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=2-00:00:00
#SBATCH --output=driver-%j.log

set -euo pipefail
unset SLURM_CPUS_PER_TASK SLURM_MEM_PER_NODE SLURM_MEM_PER_CPU   # of this job, not of those that it submits
source "$HOME/my-environment/bin/activate"

python - <<'PYTHON'
import bioimage_py as bp
from bioimage_py.runner import SlurmConfig

mask = bp.sources.open_source("cells.zarr", "mask")
config = SlurmConfig.load(profile="cpu")
bp.segmentation.label(mask, "cells.zarr/labels", job_type="slurm", job_config=config, num_workers=50)
PYTHON
