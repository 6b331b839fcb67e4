#!/usr/bin/env bash
# InstructGPT's three steps with an 8B model on one GPU of 80 GB, by low-rank adapters. A command line to start from: it
# has been tried with small models on a CPU (docs/guides/training.md), never with 8B.
#
#   examples/8b_one_gpu.sh MODEL DATA OUT
#
#   MODEL  a folder or a name on the hub, of 8B or so; --pad-token names an unused token of its vocabulary
#   DATA   a folder with demonstrations.jsonl, rankings.jsonl and prompts.jsonl (`momus data convert`), and text/*.txt
#
# The base is held once in bfloat16 (16 GB) by the policy and its reference, which have an adapter each, and once more by
# the reward and value models. Learning rates are not the paper's, which trained all weights. Every step continues the
# adapter of the one before, so that OUT/ppo/adapter over MODEL, as published, is what ships.
set -euo pipefail
model="$1" data="$2" out="$3"
common=(--precision bf16 --gradient-checkpointing --lora --lora.rank 64 --pad-token "${PAD_TOKEN:-<|finetune_right_pad_id|>}")

momus train sft --preset before-ppo "${common[@]}" --model "$model" --data "$data/demonstrations.jsonl" \
    --pretraining "$data"/text/*.txt --learning-rate 1e-4 --out "$out/sft"

momus train reward "${common[@]}" --model "$out/sft/adapter" --data "$data/rankings.jsonl" \
    --demonstrations "$data/demonstrations.jsonl" --learning-rate 1e-4 --out "$out/reward"

momus train ppo "${common[@]}" --model "$out/sft/adapter" --reward "$out/reward/adapter" --data "$data/prompts.jsonl" \
    --pretraining "$data"/text/*.txt --ptx-coefficient 27.8 --policy-learning-rate 2e-5 --value-learning-rate 1e-4 \
    --out "$out/ppo"
