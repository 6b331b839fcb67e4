#!/usr/bin/env bash
# From documents with feedback to a trained model, on six short reports of pupils and a model of random weights.
#
#   examples/document_feedback_tiny.sh OUT
#
#   OUT  where everything goes; run again after an interruption it continues
#
# The reports, a teacher's notes and the worse notes of somebody else are in examples/reports/, made up for this: four
# are English, two Korean. What it shows: feedback given, approved and returned with grades, exported as demonstrations
# and rankings, and read by both steps of training. What it does not: anything about feedback. The model knows no language.
set -euo pipefail
here="$(dirname "$0")" out="$1"
momus="${MOMUS:-momus}" python="${PYTHON:-python}"
mkdir -p "$out"

# Feedback that people wrote; pupils' feedback is a draft until somebody approves it.
[ -d "$out/class" ] || cp -r "$here/reports" "$out/class"
give() {  # REPORT NOTES AUTHOR DECISION GRADE
    local file="$1.${3/ /-}.feedback.json"
    if ! grep -qs '"state"' "$file"; then  # nobody has decided on it yet
        "$momus" feedback "$1" --rubric pupil --given "$2" --by "$3" > /dev/null
        "$momus" feedback "$4" "$file" --by "Mr Lee" --grade "$5"
    fi
}
for folder in "$out"/class/*/; do
    give "${folder}report.md" "${folder}teacher.txt" "Ms Kim" approve 6
    give "${folder}report.md" "${folder}other.txt" other return 2
done

# What people decided becomes demonstrations, rankings and reviews.
"$momus" feedback export "$out/class" --out "$out/data" --budget 1500

# A tiny Llama with random weights, then the two steps of training that read the data.
[ -d "$out/base" ] || "$python" "$here/make_tiny_model.py" --out "$out/base" --positions 3072 \
    --data "$out/data/demonstrations.jsonl" "$out/data/rankings.jsonl"
"$momus" train sft --preset tiny --model "$out/base" --data "$out/data/demonstrations.jsonl" \
    --max-prompt 1536 --max-answer 768 --held-out 0.2 --out "$out/sft"
"$momus" train reward --preset tiny --model "$out/sft/model" --data "$out/data/rankings.jsonl" \
    --max-prompt 1536 --max-answer 768 --held-out 0.2 --out "$out/reward"
