"""Nats per token of held-out texts: equal to scoring each by hand, nothing of a text lost, shown as what they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.instruct.questions import Likelihood, Questions
from momus.evaluate.instruct.tax import TaxReport, compare_systems
from momus.evaluate.instruct.texts import NATS, Passage, read_passages, text_results
from momus.files import Ledger
from momus.lm.models import save_causal_lm
from momus.records import Demonstration, write_jsonl
from momus.report.tax import render_tax
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer


@given(st.lists(st.text("ab \t", min_size=1, max_size=30), max_size=9), st.integers(0, 4000))
def test_passages_hold_every_letter_in_order_and_are_never_endless(tmp_path_factory, paragraphs, longest):
    text = "\n\n".join([*paragraphs, "z" * longest])
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_text(text)
    if not text.strip():
        with pytest.raises(UserError, match="no text in it"):
            read_passages(path)
        return
    passages = read_passages(path)
    assert "".join("".join(p.text for p in passages).split()) == "".join(text.split())
    assert all(p.text.strip() or p.text for p in passages) and max(len(p.text) for p in passages) <= 3002
    assert len({p.name for p in passages}) == len(passages)


def test_the_value_is_the_mean_surprise_of_a_token_and_answers_stand_behind_their_prompts(tmp_path):
    engine = tiny_engine()
    path = tmp_path / "both.jsonl"
    rows = [{"prompt": "def f(items):", "answer": "return total"}, {"prompt": "items", "answer": "total"}]
    write_jsonl(path, [Demonstration(**row) for row in rows])
    passages = read_passages(path)
    assert [(p.before, p.text) for p in passages] == [(f"{row['prompt']}\n", row["answer"]) for row in rows]
    with Ledger(tmp_path / "a.jsonl", {}) as ledger:
        likelihoods = Questions(engine, ledger).likelihoods([(p.before, p.text) for p in passages])
    (result,) = text_results(passages, likelihoods)
    for passage in passages:
        tokens = engine.encode(passage.text, bos=False)
        (alone,) = engine.score(engine.encode(passage.before, bos=True), [tokens])
        assert result.items[passage.name] == pytest.approx(-sum(alone) / len(tokens), abs=1e-4)


def test_a_change_below_one_nat_is_in_nats_and_not_in_hundredths():
    passages = [Passage(str(i), "a") for i in range(20)]

    def system(surprise):
        return text_results(passages, [Likelihood(-surprise - i * surprise / 100, 1) for i in range(20)])

    report = compare_systems(("before", system(0.2)), [("after", system(0.3))])
    (row,) = report.rows
    assert row.name == f"texts: {NATS}" and row.scale == 1 and row.digits == 3
    assert "+0.1" in render_tax(report, "momus evaluate tax") and TaxReport.from_json(report.to_json()) == report
    assert 0.1 <= row.changes[0].difference.value < 0.12 and row.changes[0].verdict == "worse"


def test_from_the_command_line(tmp_path, capsys):
    save_causal_lm(tiny_model(), tmp_path / "m", tiny_tokenizer())
    path = tmp_path / "held_out.txt"
    path.write_text("def f(items):\n\n    return total\n")
    arguments = ["evaluate", "public", str(tmp_path / "m"), "--tasks", "texts", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "texts that nothing was trained on" in capsys.readouterr().err
    assert main([*arguments, "--data", f"texts={path}"]) == 0
    assert NATS in capsys.readouterr().out
