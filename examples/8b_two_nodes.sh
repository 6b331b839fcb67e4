#!/usr/bin/env bash
# The same with all weights trained, on two nodes of eight GPUs: run it on both, RANK=0 on the one that MASTER names and
# RANK=1 on the other, with OUT on a file system that both see. A command line to start from: two processes on a CPU have
# been tried (tests/test_processes.py), two nodes never.
#
#   RANK=0 MASTER=10.0.0.1 examples/8b_two_nodes.sh MODEL DATA OUT
set -euo pipefail
model="$1" data="$2" out="$3"
launch=(
    accelerate launch --num_machines 2 --num_processes 16 --machine_rank "$RANK" --main_process_ip "$MASTER"
    --main_process_port 29500 --mixed_precision bf16
    --use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP -m momus
)
common=(--gradient-checkpointing --pad-token "${PAD_TOKEN:-<|finetune_right_pad_id|>}")

"${launch[@]}" train sft --preset before-ppo "${common[@]}" --model "$model" --data "$data/demonstrations.jsonl" \
    --pretraining "$data"/text/*.txt --out "$out/sft"

"${launch[@]}" train reward "${common[@]}" --model "$out/sft/model" --data "$data/rankings.jsonl" \
    --demonstrations "$data/demonstrations.jsonl" --out "$out/reward"

"${launch[@]}" train ppo "${common[@]}" --model "$out/sft/model" --reward "$out/reward/model" \
    --data "$data/prompts.jsonl" --pretraining "$data"/text/*.txt --ptx-coefficient 27.8 --out "$out/ppo"
