#!/usr/bin/env bash
# Does a critic beside the labelers make better policies (CriticGPT, section 5)? One model's answers to problems, judged by
# a larger model alone and with a critic's comments; a reward model and a policy from either, and a reward model from what
# tests say, the best that any labeler could do; then tests decide. Hours on two cores.
#
#   examples/policies_by_assistance.sh PROBLEMS POLICY LABELER CRITIC OUT
#
#   PROBLEMS  mbpp.jsonl of github.com/google-research/google-research (MBPP's format: text, code, tests)
#   POLICY    a chat model that reads code: a folder or a name on the hub, such as Qwen/Qwen2.5-Coder-0.5B-Instruct
#   LABELER   a larger one, which says of answers whether they are right
#   CRITIC    the model that writes critiques, or the folder of an adapter over it (src/momus/critics/shipped)
#   OUT       where everything goes; run again after an interruption it continues
#
# Tests run in the cage (momus doctor). No people take part. More options for every training step: TRAIN="--precision bf16".
set -euo pipefail
problems="$1" policy="$2" labeler="$3" critic="$4" out="$5" momus="${MOMUS:-momus}" python="${PYTHON:-python}"
bench="$(dirname "$0")/../benchmarks/assisted_policies.py"
read -r -a train <<< "--lora ${TRAIN:-} --max-prompt 400"

"$python" "$bench" rank "$problems" --policy "$policy" --labeler "$labeler" --critic "$critic" --out "$out" \
    --limit "${RANKED:-120}"
# What four of five such experiments could see is said before anything is trained.
measure=(measure "$problems" --out "$out/measured" --limit "${MEASURED:-200}" --policy "start=$policy")
"$python" "$bench" "${measure[@]}"
for name in alone assisted tests; do
    "$momus" train reward --model "$policy" --data "$out/$name.jsonl" --out "$out/reward_$name" "${train[@]}" \
        --max-answer 400 --prompts-per-batch 4 --learning-rate 2e-4
done
for name in alone assisted; do
    "$momus" train ppo --model "$policy" --reward "$out/reward_$name/model" --data "$out/prompts.jsonl" \
        --out "$out/ppo_$name" "${train[@]}" --max-answer 256 --iterations "${ITERATIONS:-8}" --prompts-per-batch 16 \
        --rollouts-per-prompt 4 --minibatches 4 --warmup-iterations 2 --policy-learning-rate 2e-4 \
        --value-learning-rate 2e-4 --kl-coefficient 0.05 --save-every 2
done
"$python" "$bench" "${measure[@]}" \
    --policy "alone=$out/ppo_alone/model" --policy "assisted=$out/ppo_assisted/model" \
    --reward "alone=$out/reward_alone/model" --reward "assisted=$out/reward_assisted/model" \
    --reward "tests=$out/reward_tests/model"
