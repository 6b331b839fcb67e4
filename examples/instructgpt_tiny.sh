#!/usr/bin/env bash
# InstructGPT's three steps, twice round, on real data and a model of 0.9 million random weights. A few minutes on a laptop.
#
#   examples/instructgpt_tiny.sh OASST HH OUT
#
#   OASST  a folder with en_100_tree.jsonl and prompt_lottery_en_250_text.jsonl (github.com/LAION-AI/Open-Assistant)
#   HH     harmless-base/test.jsonl.gz of github.com/anthropics/hh-rlhf; it holds offensive text
#   OUT    where everything goes; run again after an interruption it continues
#
# What it shows: that all the steps fit together and continue after a kill, and that PPO raises the score of the reward
# model it is given. What it does not: anything about alignment. The model knows no language before it starts.
set -euo pipefail
trees="$1/en_100_tree.jsonl" prompts="$1/prompt_lottery_en_250_text.jsonl" hh="$2" out="$3"
base="$out/base" momus="${MOMUS:-momus}" python="${PYTHON:-python}"

# A tiny Llama with random weights, and a tokenizer trained on the data.
[ -d "$base" ] || "$python" "$(dirname "$0")/make_tiny_model.py" --out "$base" --data "$trees" "$hh"

# The gold reward model, who plays the labeler in the second round: trained on people's preferences (hh-rlhf).
"$momus" train reward --preset tiny --epochs 1 --model "$base" --data "$hh" --out "$out/gold"

# Step 1 on people's demonstrations (Open-Assistant), 2 on people's rankings (hh-rlhf), 3; then 2 and 3 again with the
# simulated labeler's rankings of the first policy's answers. A mix of 10 % pretraining texts before PPO is the paper's
# (C.3), for which the conversations stand in; gamma is 1 instead of 27.8, for a model that was never pretrained has a
# pretraining gradient that would drown the rest.
"$momus" train rlhf --preset tiny --model "$base" \
    --demonstrations "$trees" --rankings "$hh" --prompts "$prompts" --pretraining "$trees" \
    --gold "$out/gold/model" --rounds 2 --max-answer 48 \
    --sft.epochs 4 --sft.pretraining-share 0.1 --sft.dropout 0.2 --sft.keep last --reward.epochs 1 \
    --ppo.iterations 8 --ppo.policy-learning-rate 5e-4 --ppo.ptx-coefficient 1 \
    --out "$out/rlhf"
