#!/usr/bin/env bash
# CriticGPT's recipe on a model that can already read code: bugs put into functions, the critiques their author would write
# (SFT), four critiques an answer rated by simulated contractors (reward model), PPO against it; then what each catches.
#
#   examples/critic_from_a_code_model.sh MODEL OUT [FUNCTIONS]
#
#   MODEL      a chat model that reads code: a folder, a GGUF file or a name on the hub, such as Qwen/Qwen2.5-Coder-0.5B-Instruct
#   OUT        where everything goes; run again after an interruption it continues
#   FUNCTIONS  answers for SFT; by default 6000, about 3 million tokens: a night on two cores, minutes on a GPU
#
# Data are functions of the standard library on this machine, split by module: what is measured on was not trained on.
# The contractors are simulated: they know the bugs, and are as noisy as people were. More options for every training step:
# TRAIN="--precision bf16 --lora.rank 16". With MIX="hh.jsonl" the reward model learns from these preferences as well, the
# share of them chosen on held-out critiques; with TRUTH=1 a second policy is trained against what is known of the bugs.
set -euo pipefail
model="$1" out="$2" functions="${3:-6000}" momus="${MOMUS:-momus}"
read -r -a train <<< "--lora ${TRAIN:-} --max-prompt 1500 --max-answer 200"
made() { [ -e "$1" ] || "${@:2}"; }
few=$((functions / 6 > 8 ? functions / 6 : 8))
mkdir -p "$out"

# 1. Functions with a bug, and a fifth without; each with its gold critique as a demonstration in chat form.
made "$out/tampers.jsonl" "$momus" data tampers --split train --limit "$functions" --per-function 2 --out "$out/tampers.jsonl"
made "$out/valid.jsonl" "$momus" data tampers --split valid --limit 400 --seed 1 --out "$out/valid.jsonl"
made "$out/demonstrations.jsonl" "$momus" data critiques "$out/tampers.jsonl" --out "$out/demonstrations.jsonl"
"$momus" train sft --model "$model" --data "$out/demonstrations.jsonl" --out "$out/sft" --epochs 1 "${train[@]}"

# 2. Four of its critiques of each of other answers, rated side by side with the gold one by five simulated contractors.
made "$out/to_rate.jsonl" "$momus" data tampers --split train --limit "$few" --seed 2 --out "$out/to_rate.jsonl"
"$momus" critique "$out/to_rate.jsonl" --model "$out/sft/model" --kind prompted --n 4 --out "$out/sampled"
made "$out/comparisons.jsonl" "$momus" data rate "$out/to_rate.jsonl" --critiques "$out/sampled/critiques.jsonl" --out "$out/comparisons.jsonl"
made "$out/rankings.jsonl" "$momus" data critiques "$out/comparisons.jsonl" --out "$out/rankings.jsonl"
mix=()
[ -z "${MIX:-}" ] || mix=(--mix "$MIX" --shares 0 0.25 0.5)
"$momus" train reward --model "$out/sft/model" --data "$out/rankings.jsonl" --out "$out/reward" --prompts-per-batch 16 \
    "${mix[@]}" "${train[@]}"

# 3. PPO on the demonstrations' prompts; and on the same prompts against the truth: bugs caught minus false comments.
ppo=(--iterations "${ITERATIONS:-47}" --prompts-per-batch "${PROMPTS:-64}" --rollouts-per-prompt 1 --minibatches 4)
"$momus" train ppo --model "$out/sft/model" --reward "$out/reward/model" --data "$out/demonstrations.jsonl" --out "$out/ppo" \
    "${ppo[@]}" "${train[@]}"
names="prompted sft ppo"
if [ -n "${TRUTH:-}" ]; then
    "$momus" train ppo --model "$out/sft/model" --reward truth --data "$out/tampers.jsonl" --out "$out/truth" "${ppo[@]}" "${train[@]}"
    names="$names truth"
fi

# What each catches on modules that nothing was trained on: the model as it came, after SFT, after PPO of either kind, and
# what Force Sampling Beam Search finds with the policy and the reward model, of which it takes 28 samples an answer.
made "$out/test.jsonl" "$momus" data tampers --split test --limit "${MEASURED:-300}" --seed 3 --out "$out/test.jsonl"
critiques=()
for name in $names; do
    source="$out/$name/model"
    [ "$name" = prompted ] && source="$model"
    "$momus" critique "$out/test.jsonl" --model "$source" --kind prompted --out "$out/test_$name"
    critiques+=("$name=$out/test_$name/critiques.jsonl")
done
"$momus" critique "$out/test.jsonl" --model "$out/ppo/model" --kind prompted --method fsbs --reward "$out/reward/model" \
    --max-tokens 200 --out "$out/test_fsbs"
critiques+=("fsbs=$out/test_fsbs/critiques.jsonl")
"$momus" evaluate critics "$out/test.jsonl" --critiques "${critiques[@]}"
echo "Review with it: momus review FILE --model $out/ppo/model"
