#!/usr/bin/env bash
# InstructGPT's steps 2 and 3 on a model that already follows instructions, and what they cost it: two reward models on
# two halves of people's preferences, PPO, PPO-ptx and DPO on the first half, judged by the second. Hours on two cores.
#
#   examples/instructgpt_on_a_real_model.sh MODEL HH PRETRAINING TEXTS OUT
#
#   MODEL        a small chat model: a folder or a name on the hub, such as HuggingFaceTB/SmolLM2-135M-Instruct
#   HH           harmless-base/test.jsonl.gz of github.com/anthropics/hh-rlhf; it holds offensive text
#   PRETRAINING  a .txt file, or one that `momus data` reads: texts for PPO-ptx
#   TEXTS        the same of other texts: what training costs is measured on them, in nats per token
#   OUT          where everything goes; run again after an interruption it continues
#
# What it shows: whether a reward model that was never trained against likes the trained policies better, and what each
# of them loses. What it does not: that people would agree. The start is a model that was tuned on instructions before.
# More options for every training step: TRAIN="--precision bf16".
set -euo pipefail
model="$1" hh="$2" pretraining="$3" texts="$4" out="$5" momus="${MOMUS:-momus}"
read -r -a train <<< "--lora ${TRAIN:-}"
short=(--max-prompt "${PROMPT:-96}" --max-answer "${ANSWER:-48}")
mkdir -p "$out"

# People's preferences in three: two halves that share no pair, and pairs to measure on.
[ -e "$out/held_out.jsonl" ] || gzip -dc "$hh" | awk -v out="$out" '
    { part = NR % 20 < 3 ? "held_out" : NR % 2 ? "first" : "second"; print > (out "/" part ".part") }'
for part in first second held_out; do
    [ -e "$out/$part.jsonl" ] || mv "$out/$part.part" "$out/$part.jsonl"
done

# Step 2, twice: the first reward model is trained against, the second only judges.
for half in first second; do
    "$momus" train reward --model "$model" --data "$out/$half.jsonl" --skip-bad --out "$out/reward_$half" "${train[@]}" \
        --max-prompt 400 --max-answer 200 --held-out 0.05 --prompts-per-batch 16 --learning-rate 2e-4
    "$momus" evaluate reward "$out/reward_$half/model" --data "$out/held_out.jsonl"
done

# Step 3 without and with pretraining texts, and the same preferences without a reward model.
for name in ppo ptx; do
    mix=()
    [ "$name" = ptx ] && mix=(--pretraining "$pretraining" --ptx-coefficient "${GAMMA:-1}" --ptx-per-episode 1)
    "$momus" train ppo --model "$model" --reward "$out/reward_first/model" --data "$out/first.jsonl" --skip-bad \
        "${short[@]}" ${mix[@]+"${mix[@]}"} --out "$out/$name" "${train[@]}" \
        --iterations "${ITERATIONS:-24}" --prompts-per-batch "${EPISODES:-64}" --minibatches 4 --warmup-iterations 2 \
        --policy-learning-rate 2e-4 --value-learning-rate 2e-4 --kl-coefficient 0.05 --save-every 2
done
"$momus" train dpo --model "$model" --data "$out/first.jsonl" --skip-bad --out "$out/dpo" "${train[@]}" \
    --max-prompt 400 --max-answer 200 --prompts-per-batch 16 --learning-rate 2e-5 --warmup-steps 6

# Answers to prompts that nothing was trained on, drawn as PPO draws them, ranked by either reward model.
for name in start ppo ptx dpo; do
    folder="$out/$name/model"
    [ "$name" = start ] && folder="$model"
    printf '[%s]\nmodel = "%s"\nmax_tokens = %s\ntemperature = 1.0\n' "$name" "$folder" "${ANSWER:-48}"
done > "$out/lineup.toml"
"$momus" evaluate sample "$out/held_out.jsonl" --systems "$out/lineup.toml" --limit "${PROMPTS:-200}" --out "$out/answers"
for half in first second; do
    "$momus" evaluate rank "$out/answers/answers.jsonl" --reward "$out/reward_$half/model" --out "$out/by_$half.jsonl"
    "$momus" evaluate preferences "$out/by_$half.jsonl" --baseline start --equal-length
done

# The tax: texts that nothing was trained on, and what else is given as TASKS and DATA (momus evaluate public).
read -r -a tasks <<< "texts ${TASKS:-}"
read -r -a data <<< "texts=$texts ${DATA:-}"
for name in start ppo ptx dpo; do
    folder="$out/$name/model"
    [ "$name" = start ] && folder="$model"
    "$momus" evaluate public "$folder" --tasks "${tasks[@]}" --data "${data[@]}" --out "$out/public/$name"
done
"$momus" evaluate tax "$out/public/start" "$out/public/ppo" "$out/public/ptx" "$out/public/dpo" --out "$out/tax"
