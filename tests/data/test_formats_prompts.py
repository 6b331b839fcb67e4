"""InstructGPT's rules for prompts."""

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.data.prompts import Contamination, PromptRules, choose, split_of
from momus.records import Origin, Prompt, read_jsonl

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def prompts(*pairs):
    return [Prompt(prompt=text, origin=Origin(user=user)) for text, user in pairs]


def chosen(given, rules, tests=None):
    counts = Counter()
    return [record.prompt for record in choose(given, rules, tests, counts)], counts


def test_the_first_of_a_common_prefix_stays():
    texts = ["Translate  this: a", "translate this: b", "Translate this", "Other"]
    left, counts = chosen(prompts(*((text, "") for text in texts)), PromptRules(prefix=15))
    assert left == ["Translate  this: a", "Translate this", "Other"]
    assert counts["with the beginning of another"] == 1


def test_a_user_keeps_so_many_and_no_name_is_no_user():
    given = prompts(*((f"{user}{i}", user) for i in range(5) for user in ("a", "b", "")))
    left, counts = chosen(given, PromptRules(per_user=2))
    assert Counter(text[:1] for text in left if not text.isdigit()) == {"a": 2, "b": 2}
    assert sum(text.isdigit() for text in left) == 5
    assert counts["beyond 2 of a user"] == 6


def test_contamination_takes_thirteen_words_or_all_of_a_short_text():
    tests = Contamination([LONG, "What is this?"])
    assert tests.touches("Please: " + " ".join(LONG.upper().split()[:13]))
    assert not tests.touches(" ".join(LONG.split()[:12]) + " other")
    assert tests.touches("what is this")
    assert not tests.touches("what is this thing")
    assert not tests.touches("")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from("abcdefgh")), max_size=60))
def test_what_holds_of_any_prompts(pairs):
    rules = PromptRules(prefix=3, per_user=4, valid=0.3, test=0.3)
    counts = Counter()
    left = list(choose(prompts(*pairs), rules, None, counts))
    assert max(Counter(record.origin.user for record in left).values(), default=0) <= 4
    assert all(record.split == split_of(record.origin.user, rules) for record in left)
    assert counts.total() == len(pairs)
    assert [record.prompt for record in choose(left, rules, None, Counter())] == [record.prompt for record in left]


def test_splits_have_their_shares():
    rules = PromptRules(valid=0.2, test=0.1)
    counts = Counter(split_of(f"user {i}", rules) for i in range(4000))
    assert abs(counts["valid"] / 4000 - 0.2) < 0.03
    assert abs(counts["test"] / 4000 - 0.1) < 0.03


def test_the_command(tmp_path, capsys):
    rows = [{"prompt": f"prompt {i % 3}", "user_id": i} for i in range(6)] + [{"prompt": LONG}]
    path, evaluation, out = tmp_path / "p.jsonl", tmp_path / "e.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation.write_text(json.dumps({"prompt": f"x {LONG}", "completion": "y"}) + "\n")
    assert main(["data", "prompts", str(path), "--out", str(out), "--against", str(evaluation)]) == 0
    assert [record.prompt for record in read_jsonl(out, Prompt)] == ["prompt 0", "prompt 1", "prompt 2"]
    shown = capsys.readouterr().err
    assert "3 with the beginning of another" in shown
    assert "1 in an evaluation set" in shown
    out.unlink()
    path.write_text(path.read_text() + "{}\n")
    assert main(["data", "prompts", str(path), "--out", str(out)]) == 2
    assert "p.jsonl:8: prompt: missing" in capsys.readouterr().err
    assert not out.exists()


def test_a_bad_row_of_an_evaluation_set_is_told(tmp_path, capsys):
    """Else what it holds would be trained on, and nobody would know."""
    path, evaluation, out = tmp_path / "p.jsonl", tmp_path / "e.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"prompt": "one"}\n')
    evaluation.write_text('{"prompt": "two"}\n{"prompt": 2}\n')
    options = ["data", "prompts", str(path), "--out", str(out), "--against", str(evaluation)]
    assert main(options) == 2
    assert "e.jsonl:2: prompt: is a number: must be text" in capsys.readouterr().err
    assert not out.exists()
    assert main([*options, "--skip-bad"]) == 0
    assert "left out: e.jsonl:2" in capsys.readouterr().err


def test_the_file_that_is_read_is_not_written_over(tmp_path, capsys):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "one"}\n')
    assert main(["data", "prompts", str(path), "--out", str(path)]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert path.read_text() == '{"prompt": "one"}\n'
