"""Measuring a model as a judge: what is reported of judges whose faults are known, and the commands."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from math import comb, exp
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UnfitInputError, UserError
from momus.evaluate.rain.judge import Pair, calibrate_judge, pairs_of, report
from momus.lm.engine import Choice
from momus.lm.models import RewardModel
from momus.records import Message, Prompt, Ranking
from momus.search.rain.judge import JudgeVerdict
from momus.search.rain.tasks import RAIN_TASKS
from support.openai_server import OpenAIServer
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data" / "hh-rlhf" / "harmless-base-test.jsonl.gz"
PAIRS = [Pair(f"question {i}", f"good {i}", f"bad {i}") for i in range(40)]


def verdict(good: float, liking: float = 0.0, mass: float = 0.9) -> JudgeVerdict:
    """Of a judge that gives the good statement this probability, and as much more to A as it likes A."""
    first, second = (min(1.0, max(0.0, p + liking)) for p in (good, 1 - good))
    return JudgeVerdict.from_choices(Choice(first, mass), Choice(second, mass), 0.01)


def knowing(asked: str, answered: str) -> JudgeVerdict:
    return verdict(0.7 if answered.startswith("good") else 0.2)


def test_calibrate_judge_of_a_perfect_judge() -> None:
    result = calibrate_judge(knowing, PAIRS)
    for share in (result.pairs, result.answers, result.better, result.worse, result.soft, result.decided):
        assert (share.value, share.high) == (1, 1) and 0.9 < share.low < 1
    assert result.first_label.value == pytest.approx(0.5) and result.mass.value == pytest.approx(0.9)
    assert result.abstained.value == 0 and "better than a coin" in result.advice


def test_calibrate_judge_shows_a_bias_for_a_label() -> None:
    """It knows, but says A whatever A stands for: no verdict tells answers apart; the probabilities still do."""
    result = calibrate_judge(lambda asked, item: verdict(0.6 if item.startswith("good") else 0.45, liking=0.45), PAIRS)
    assert result.pairs.value == result.answers.value == 0.5 and result.decided.value == 0
    assert result.first_label.value > 0.9 and result.soft.value == 1
    assert "coin" in result.advice and "do not" in result.advice


ODD = st.integers(-250, 249).map(lambda n: (2 * n + 1) / 100)
EVEN = st.integers(-250, 249).map(lambda n: (2 * n + 2 * (n >= 0)) / 100)


@given(st.lists(st.tuples(ODD, EVEN), min_size=1, max_size=20), st.floats(-8, 8))
def test_a_liking_for_a_label_changes_nothing_by_log_odds(pairs: list[tuple[float, float]], liking: float) -> None:
    def asked(log_odds: float, liking: float) -> JudgeVerdict:
        first, second = (Choice(1 / (1 + exp(-odds - liking)), 0.9) for odds in (log_odds, -log_odds))
        return JudgeVerdict.from_choices(first, second, 0.01)

    fair, biased = (report([(asked(a, x), asked(b, x)) for a, b in pairs]) for x in (0.0, liking))
    assert biased.unbiased == fair.unbiased and biased.unbiased_answers == fair.unbiased_answers
    assert fair.unbiased.value == pytest.approx(sum(a > b for a, b in pairs) / len(pairs))
    assert fair.unbiased_answers == fair.answers and fair.unbiased == fair.soft


def test_calibrate_judge_of_a_constant_judge_is_chance() -> None:
    result = calibrate_judge(lambda asked, item: verdict(0.9), PAIRS)
    assert (result.better.value, result.worse.value, result.pairs.value, result.answers.value) == (1, 0, 0.5, 0.5)
    assert "do not" in result.advice


def test_calibrate_judge_counts_abstentions() -> None:
    result = calibrate_judge(lambda asked, item: verdict(0.9 if item.startswith("good") else 0.1, mass=1e-5), PAIRS)
    assert result.abstained.value == 1 and result.pairs.value == 0.5 and result.decided.value == 0
    assert result.low_mass == pytest.approx(1e-5) and "does not answer" in result.advice


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_swapping_better_and_worse_mirrors_the_report(probabilities: list[tuple[float, float]]) -> None:
    """Swapping the answers of every pair turns every share of being right into that of being wrong."""
    result = [(verdict(a), verdict(b)) for a, b in probabilities]
    one, other = report(result), report([(b, a) for a, b in result])
    assert one.pairs.value + other.pairs.value == pytest.approx(1)
    assert one.soft.value + other.soft.value == pytest.approx(1)
    assert one.better.value + other.worse.value == pytest.approx(1)
    assert one.answers.value + other.answers.value == pytest.approx(1)
    assert one.pairs.low <= one.pairs.value <= one.pairs.high


@given(st.lists(st.sampled_from([(0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]), min_size=1, max_size=40))
def test_a_judge_is_trusted_only_where_a_coin_would_hardly_do_as_well(answers: list[tuple[float, float]]) -> None:
    result = report([(verdict(good), verdict(bad)) for good, bad in answers])
    won, lost = answers.count((0.9, 0.1)), answers.count((0.1, 0.9))
    chance = sum(comb(won + lost, k) for k in range(won, won + lost + 1)) / 2 ** (won + lost)
    assert result.coin == pytest.approx(chance)
    assert ("better than a coin" in result.advice) == (chance <= 0.025)


@pytest.mark.parametrize("pairs", [1, 2, 5, 6])
def test_a_handful_of_pairs_certifies_no_judge(pairs: int) -> None:
    result = calibrate_judge(knowing, PAIRS[:pairs])
    assert result.pairs.low < 1 and (result.pairs.low > 0.5) == (pairs == 6)
    assert ("better than a coin" in result.advice) == (pairs == 6)


def test_pairs_that_do_not_fit_are_counted() -> None:
    def narrow(asked: str, answered: str) -> JudgeVerdict:
        if asked.endswith("7"):
            raise UnfitInputError("too long")
        return knowing(asked, answered)

    reported: list[int] = []
    result = calibrate_judge(narrow, PAIRS, reported.append)
    assert (result.measured, result.unfit) == (36, 4) and reported == list(range(1, 41))
    with pytest.raises(UserError, match="too long"):
        calibrate_judge(narrow, [PAIRS[7]])


def test_pairs_of_rankings() -> None:
    turns = tuple(Message(role=r, content=t) for r, t in (("user", "a"), ("assistant", "b"), ("user", "c")))
    rankings = [
        Ranking(prompt="x", candidates=("p", "q", "r"), ranks=(2, 3, 1)),
        Ranking(prompt="x", candidates=("p", "q"), ranks=(1, 1)),
        Ranking(prompt=turns, candidates=("p", (Message(role="assistant", content="q"),)), ranks=(2, 1)),
        Ranking(prompt=turns[1:2], candidates=("p", "q"), ranks=(1, 2)),
    ]
    assert list(pairs_of(rankings)) == [("x", "r", "q"), ("c", "q", "p")]


def test_worked_examples_are_balanced_over_labels_and_orders() -> None:
    for name, task in RAIN_TASKS.items():
        cases = task.criterion.cases
        assert 2 * sum(case.good for case in cases) == len(cases), name
        text = task.criterion.text("?", "!", good_first=True)
        assert text.count("is: (A)") == text.count("is: (B)") == len(cases) / 2, name
        assert len(task.with_cases(2).criterion.cases) == 2 and task.with_cases(None) is task
    with pytest.raises(UserError):
        RAIN_TASKS["harmless"].with_cases(-1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    item = tiny_model()
    item.config.max_position_embeddings = 4096
    item.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    """Real pairs where they are at hand, else made-up ones."""
    path = tmp_path / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for pair in PAIRS[:6]:
            turns = [f"\n\nHuman: {pair.asked}\n\nAssistant: {item}" for item in (pair.better, pair.worse)]
            file.write(json.dumps(dict(zip(("chosen", "rejected"), turns, strict=True))) + "\n")
    return path


def test_judge_calibrate_command_measures(
    model: Path, pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "judge.json"
    arguments = ["judge", "calibrate", str(pairs_file), "--model", str(model), "--cases", "0", "--pairs", "4"]
    assert main([*arguments, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "4 pairs" in shown.out and "first label" in shown.out and "do not let it judge" in shown.err
    written = json.loads(out.read_text())
    assert written["measured"] == 4 and 0 <= written["first_label"]["value"] <= 1
    assert main([*arguments, "--pairs", "0"]) == 2
    assert main(["judge", "calibrate", str(model / "config.json"), "--model", str(model)]) == 2
    assert capsys.readouterr().err.count("momus: error:") == 2


def test_judge_calibrate_refuses_bad_rows(model: Path, pairs_file: Path, capsys: pytest.CaptureFixture) -> None:
    """A number measured on what happened to be whole would pass for one measured on the file."""
    good = pairs_file.read_text().splitlines()
    bad = json.dumps({"chosen": 3, "rejected": "\n\nHuman: a\n\nAssistant: b"})
    pairs_file.write_text("\n".join([*good, bad, bad]) + "\n")
    assert main(["judge", "calibrate", str(pairs_file), "--model", str(model), "--cases", "0"]) == 2
    shown = capsys.readouterr()
    assert not shown.out and len(shown.err.splitlines()) == 3
    assert all(f"{pairs_file.name}:{line}: chosen" in shown.err for line in (7, 8)) and "2 bad rows" in shown.err


def test_judge_ask_command_judges_one_answer(model: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["judge", "ask", "--model", str(model), "--cases", "0", "--asked", "why?", "--answer", "so"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("against B") == 2 and "value" in shown


def test_a_model_on_a_server_judges_like_the_same_model_here() -> None:
    from momus.search.rain.judge import SelfJudge

    criterion = RAIN_TASKS["critique"].with_cases(0).criterion
    local, server = tiny_engine(), OpenAIServer(tiny_engine())
    here, there = SelfJudge(local, criterion), SelfJudge(server.remote(), criterion)
    for answer in ("right", "wrong, I think"):
        one, other = here("x = 1", answer), there("x = 1", answer)
        assert one.value == other.value
        assert one.first == pytest.approx(other.first, abs=1e-4)


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data/hh-rlhf")
def test_real_pairs_can_be_read() -> None:
    from momus.data.convert import read, recognise

    result = list(islice(pairs_of(item for item in read(*recognise(str(DATA))) if isinstance(item, Ranking)), 500))
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        first = json.loads(file.readline())
    assert len(result) == 500
    assert result[0].better in first["chosen"] and result[0].worse in first["rejected"]


def test_ways_to_answer_are_compared_at_equal_cost() -> None:
    from momus.evaluate.rain.comparison import WAYS, WayComparison, summarise_ways
    from momus.search.rain.dataset import Rain

    task = RAIN_TASKS["critique"].with_cases(0).with_settings(max_tokens=4, iterations=6)
    rain = Rain.of(tiny_engine(), task)

    def grader(asked: str, answered: str) -> JudgeVerdict:
        return verdict(0.9 if len(answered) % 2 else 0.1)

    compared = WayComparison(rain, grader, seed=0)
    result = [item for index in range(2) for item in compared.answers(index, Prompt(prompt=f"what is {index}?"))]
    assert [item.way for item in result] == 2 * list(WAYS)
    greedy, _, samples, searched = result[:4]
    assert searched.answer == rain.answer(0, Prompt(prompt="what is 0?"), 0).answer
    assert (samples.tokens >= searched.tokens and samples.samples > 1) or samples.samples == 256
    encoded = rain.encode_prompt(Prompt(prompt="what is 0?"))
    prompt, keys = len(encoded.tokens), [(0, 0, number) for number in range(5)]
    together = compared._draw(encoded, 4, keys)
    assert together == [text for key in keys for text in compared._draw(encoded, 4, [key])], "as if drawn alone"
    assert greedy.tokens <= prompt + 3, "cached generation, from an empty memory"
    assert all(item.graded == grader("", item.answer).value for item in result)
    reports = {item.way: item for item in summarise_ways(result)}
    gain = reports["greedy"].gain
    assert gain.value == gain.low == gain.high == 0
    for item in reports.values():
        assert item.gain.value == pytest.approx(item.graded.value - reports["greedy"].graded.value)
        assert item.gain.low <= item.gain.value <= item.gain.high


@given(st.integers(1, 3000), st.lists(st.integers(1, 40), min_size=1, max_size=300))
def test_samples_are_drawn_until_the_tokens_are_used_up_and_no_further_than_one_draw(
    budget: int, costs: list[int]
) -> None:
    from momus.evaluate.rain.comparison import _MOST_SAMPLES, _TOGETHER, _affordable

    drawn, used, before = 0, 0, 0
    while count := _affordable(drawn, used, budget):
        before = used
        used += sum(costs[(drawn + i) % len(costs)] for i in range(count))
        drawn += count
    assert before < budget and (used >= budget or drawn == _MOST_SAMPLES) and drawn <= _MOST_SAMPLES
    assert used - before <= _TOGETHER * max(costs)
    if len(set(costs)) == 1:
        assert used - budget < costs[0], "where all cost the same, no sample is drawn beyond the one that uses them up"


def test_the_best_of_n_by_a_reward_model_takes_as_many_tokens() -> None:
    from momus.evaluate.rain.comparison import BEST_OF_N, WAYS, AnswerReward, WayComparison, summarise_ways
    from momus.search.rain.dataset import Rain

    rain = Rain.of(tiny_engine(), RAIN_TASKS["critique"].with_cases(0).with_settings(max_tokens=4, iterations=6))
    asked: list[int] = []

    def longest(prompts: list[tuple[int, ...]], answers: list[list[tuple[int, ...]]]) -> list[list[float]]:
        asked.append(len(prompts))
        return [[float(len(set(answer))) for answer in item] for item in answers]

    reward = AnswerReward(longest, rain.chat)
    result = WayComparison(rain, None, seed=0, reward=reward).answers(0, Prompt(prompt="what is it?"))
    by_way = {item.way: item for item in result}
    assert list(by_way) == [*WAYS[:-1], BEST_OF_N, WAYS[-1]] and asked == [1], "scored in one call"
    best, samples, searched = (by_way[way] for way in (BEST_OF_N, "samples", "rain"))
    assert best.samples == 256 or searched.tokens <= best.tokens
    assert 1 < best.samples != samples.samples or samples.samples == best.samples == 256
    (turn,) = reward.turns("what is it?", [by_way["sample"].answer])
    assert reward(reward.turns("what is it?", [best.answer]))[0] >= reward([turn])[0], "it is among the samples"
    assert [item.way for item in summarise_ways(result)] == list(by_way)


def test_judge_compare_command_compares_all_ways(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from momus.cli.judge import with_suffix
    from momus.evaluate.rain.comparison import Answered
    from momus.records import read_jsonl

    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text('{"prompt": "why?"}\n')
    arguments = ["judge", "compare", str(prompts), "--model", str(model), "--out", str(out), "--cases", "0"]
    assert main([*arguments, "--max-tokens", "1", "--suffix", " ! !"]) == 0
    shown = capsys.readouterr()
    assert "gain over greedy" in shown.out and "no evidence" in shown.err
    answers = list(read_jsonl(out, Answered))
    assert len(answers) == 4 and answers[0].prompt == "why? ! !"
    talk = Prompt(prompt=(Message(role="user", content="a"),))
    assert with_suffix(talk, "b").prompt == (Message(role="user", content="ab"),)
    assert main([*arguments, "--limit", "0"]) == 2
    assert main([*arguments, "--iterations", "1"]) == 2 and "--iterations 1" in capsys.readouterr().err
    assert main([*arguments, "--max-tokens", "1", "--suffix", " ! !", "--iterations", "2"]) == 0
    fewer = {item.way: item.tokens for item in read_jsonl(out, Answered)}
    assert fewer["rain"] < next(item.tokens for item in answers if item.way == "rain")
    item = tiny_model()
    item.config.max_position_embeddings = 4096
    RewardModel.from_causal_lm(item).save(tmp_path / "reward")
    tiny_tokenizer().save_pretrained(tmp_path / "reward")
    capsys.readouterr()
    assert main([*arguments, "--max-tokens", "1", "--reward", str(tmp_path / "reward")]) == 0
    assert "best of n" in capsys.readouterr().out
    assert main([*arguments, "--reward-tokenizer", "x"]) == 2
    assert "--reward-url" in capsys.readouterr().err


def test_a_comparison_that_was_stopped_goes_on(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from momus.evaluate.rain.comparison import Answered, WayComparison
    from momus.records import read_jsonl

    real, asked = WayComparison.answers, list[int]()

    def interrupted(self: WayComparison, index: int, prompt: Prompt) -> list[Answered]:
        if index == 1 and not asked:
            asked.append(index)
            raise KeyboardInterrupt
        if asked:
            asked.append(index)
        return real(self, index, prompt)

    prompts, out, whole = (tmp_path / name for name in ("prompts.jsonl", "answers.jsonl", "whole.jsonl"))
    texts = ("why?", "so?", "x + y; " * 3000)
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    arguments = ["judge", "compare", str(prompts), "--model", str(model), "--cases", "0", "--max-tokens", "1"]
    assert main([*arguments, "--out", str(whole)]) == 0
    assert "1 more prompts did not fit" in capsys.readouterr().err
    monkeypatch.setattr(WayComparison, "answers", interrupted)
    assert main([*arguments, "--out", str(out)]) == 130 and not out.exists()
    assert main([*arguments, "--out", str(out), "--seed", "1"]) == 2 and asked == [1]
    assert "other settings (seed 0 -> 1)" in capsys.readouterr().err
    assert main([*arguments, "--out", str(out)]) == 0 and asked == [1, 1, 2], "the first is not answered again"
    one, other = ([item.model_copy(update={"seconds": 0}) for item in read_jsonl(p, Answered)] for p in (out, whole))
    assert one == other and len(one) == 8
    assert sorted(item.name for item in tmp_path.glob("*.jsonl*")) == ["answers.jsonl", "prompts.jsonl", "whole.jsonl"]


@pytest.mark.parametrize("command", [["judge", "calibrate"], ["judge", "compare"], ["calibrate"]])
def test_a_directory_as_the_file_to_write_is_refused_before_any_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([*command, str(tmp_path / "none"), "--model", "none", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip() == f"momus: error: --out {tmp_path}: it is a directory: name a file"


def test_the_command_compares_with_the_model_on_a_server(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from momus.evaluate.rain.comparison import WAYS, Answered
    from momus.lm.remote.engine import RemoteEngine
    from momus.records import read_jsonl

    engine = tiny_engine()
    engine.context_length = engine.model.config.max_position_embeddings = 4096
    made = OpenAIServer(engine)
    monkeypatch.setattr(
        "momus.cli.shared.options.connect", lambda *where: RemoteEngine(made.server(), engine.tokenizer)
    )
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text('{"prompt": "why?"}\n')
    arguments = ["judge", "compare", str(prompts), "--model", "tiny", "--out", str(out), "--cases", "0"]
    assert main([*arguments, "--max-tokens", "1", "--url", "http://momus.test/v1"]) == 0
    answers = list(read_jsonl(out, Answered))
    assert [item.way for item in answers] == list(WAYS) and all(item.tokens > 0 for item in answers)
    assert main([*arguments, "--tokenizer", "x"]) == 2
    assert "give --url" in capsys.readouterr().err
    plain = ["--reward-url", "http://momus.test/v1", "--reward-tokenizer", str(model)]
    assert main([*arguments, "--url", "http://momus.test/v1", *plain]) == 2
    assert "no chat template" in capsys.readouterr().err
