#!/bin/bash
# Training on two nodes:  sbatch slurm-train.sh
#SBATCH --job-name=unhaze-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --requeue
set -euo pipefail
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# where a process dies, torchrun starts all of them again, and they go on from the newest whole checkpoint
srun torchrun --nnodes="$SLURM_NNODES" --nproc-per-node=4 --max-restarts=3 --rdzv-backend=c10d \
  --rdzv-endpoint="$head:29500" --rdzv-id="$SLURM_JOB_ID" \
  -m unhaze train hgdf-small --data packed/ -o run/ --resume auto
