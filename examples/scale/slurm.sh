#!/bin/bash
# Submit from the folder that holds photos/:  sbatch --array=1-100 slurm.sh
#SBATCH --job-name=unhaze
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
set -euo pipefail
mkdir -p reports
# a task that is started again goes on where it was
srun unhaze run photos/ -o clear/ --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --skip-existing \
  --jobs "$SLURM_CPUS_PER_TASK" --report "reports/$SLURM_ARRAY_TASK_ID.jsonl"
