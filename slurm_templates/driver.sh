#!/bin/bash
# Runs a whole script as a small job, where login nodes end long processes: sbatch driver.sh
# (One call alone does not need this: detach=True has it driven by a job.)
# The script waits for the workers that it submits, so its wall time should cover the whole run. If it does not, submit it
# again: the same calls go on with what is left, and with the workers that live.
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
