"""RAIN from the command line: runs that go on, exports, and what is said when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from momus.cli import main
from momus.lm.remote.engine import RemoteEngine
from momus.records import Demonstration, Message, Prompt, Ranking, Tamper, Task, read_jsonl
from momus.search.rain.dataset import (
    JudgedText,
    Rain,
    RainAnswer,
    SearchedSet,
    demonstrations,
    preferences,
)
from momus.search.rain.tasks import RAIN_TASKS
from support.openai_server import OpenAIServer
from support.rain_reference import reference_rain
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer

TASK = RAIN_TASKS["critique"].with_cases(0).with_settings(max_tokens=4, iterations=8)
QUICK = ["--cases", "0", "--max-tokens", "3", "--iterations", "6"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    own = tiny_model()
    own.config.max_position_embeddings = 2048
    own.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("why?", "왜?", "x + y; " * 1500)))
    return path


def test_a_run_goes_on_where_it_was(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    arguments = ["rain", str(prompts), "--model", str(model), *QUICK]
    assert main([*arguments, "--out", str(whole)]) == 0
    shown = capsys.readouterr().err
    assert "2 answers" in shown and "1 prompts have no answer" in shown and "no room" in shown
    assert main([*arguments, "--out", str(part)]) == 0
    (part / "answers.jsonl").unlink()
    (part / "searches" / "000001.jsonl").unlink()
    kept = (part / "searches" / "000000.jsonl").stat().st_mtime_ns
    assert main([*arguments, "--out", str(part)]) == 0
    assert (part / "answers.jsonl").read_bytes() == (whole / "answers.jsonl").read_bytes()
    assert (part / "searches" / "000000.jsonl").stat().st_mtime_ns == kept
    capsys.readouterr()
    assert main([*arguments, "--seed", "1", "--out", str(part)]) == 2
    assert "other settings (seed 0 -> 1)" in capsys.readouterr().err
    assert main([*arguments, "--judged-by", "log-odds", "--out", str(part)]) == 2
    assert "judged_by None -> 'log-odds'" in capsys.readouterr().err
    answers = list(read_jsonl(whole / "answers.jsonl", RainAnswer))
    assert [own.index for own in answers] == [0, 1, 2] and answers[2].skipped and not answers[0].skipped
    assert answers[0].sets[-1].text == answers[0].answer


def test_an_interrupted_run_leaves_whole_searches(model: Path, prompts: Path, tmp_path: Path) -> None:
    import momus.search.rain.dataset as runs

    out, real, calls = tmp_path / "out", runs.search_answer, 0

    def interrupted(*arguments: object, **settings: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(*arguments, **settings)  # type: ignore[arg-type]

    arguments = ["rain", str(prompts), "--model", str(model), *QUICK, "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "search_answer", interrupted)
        assert main(arguments) == 130
    assert [file.name for file in (out / "searches").iterdir()] == ["000000.jsonl"]
    assert not (out / "answers.jsonl").exists()
    assert main(arguments) == 0 and (out / "answers.jsonl").exists()


def test_run_directories_keep_the_names_that_settings_have_always_had() -> None:
    stored = RAIN_TASKS["truthful"].stored()
    assert list(stored) == ["config", "criterion"]
    assert {"evenly", "similar_from", "similar_weight", "spread", "most_children", "at_least"} < set(stored["config"])
    assert stored["config"]["visits"] == 16 and stored["config"]["to_the_end"] is True
    assert "judged_by" not in stored["config"]  # runs are older than the choice
    assert RAIN_TASKS["truthful"].with_settings(judged_by="log-odds").stored()["config"]["judged_by"] == "log-odds"
    assert list(stored["criterion"]) == ["instruction", "good", "bad", "asker", "answerer", "cases", "sentences"]


def test_code_is_reviewed(model: Path, tmp_path: Path) -> None:
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out"
    task = Task(id="f", question="", answer="x = 1")
    tamper = Tamper(task=task, answer="x = 2")
    tasks.write_text(f"{task.model_dump_json()}\n{tamper.model_dump_json()}\n")
    assert main(["rain", str(tasks), "--task", "critique", "--model", str(model), "--out", str(out), *QUICK]) == 0
    prompts = [own.prompt for own in read_jsonl(out / "answers.jsonl", RainAnswer)]
    assert prompts == ["```python\nx = 1\n```\n", "```python\nx = 2\n```\n"]


def test_one_prompt_is_answered_here(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rain", "--prompt", "why?", "--model", str(model), *QUICK]
    assert main([*arguments, "--json"]) == 0
    answer = RainAnswer.model_validate_json(capsys.readouterr().out)
    assert answer.index == 0 and answer.sets[-1].text == answer.answer
    assert main([*arguments, "--budget-iterations", "2"]) == 0
    shown = capsys.readouterr()
    assert "out of iterations" in shown.err and "threshold not met" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give files"),
        (["FILE", "--prompt", "x"], "not both"),
        (["FILE"], "--out is needed"),
        (["--prompt", "x", "--out", "y"], "are for files"),
        (["--prompt", "x", "--max-tokens", "0"], "--max-tokens 0"),
        (["--prompt", "x", "--iterations", "1"], "--iterations 1"),
        (["--prompt", "x", "--budget-seconds", "-1"], "--budget-seconds -1"),
        (["--prompt", "x", "--cases", "-1"], "--cases -1"),
        (["--prompt", "x"], "--model is needed"),
        (["--prompt", "x", "--model", "/nowhere/at/all"], "cannot load"),
        (["--prompt", "x", "--model", "MODEL", "--device", "abacus"], "--device abacus"),
        (["--prompt", "x", "--model", "MODEL", "--embeddings", "sentences"], "sentence"),
        (["FILE", "--model", "MODEL", "--out", "OUT", "--task", "critique"], "prompts.jsonl:1"),
        (["--prompt", "x", "--model", "MODEL", "--threshold", "2"], "threshold"),
        (["--prompt", "x", "--model", "MODEL", "--tokenizer", "x"], "give --url"),
        (["--prompt", "x", "--url", "http://127.0.0.1:1/v1"], "cannot reach"),
        (["--prompt", "x", "--url", "http://x", "--embeddings", "values"], "does not show"),
        (["--prompt", "x", "--url", "http://x", "--device", "cuda"], "in this process"),
        (["--prompt", "x", "--url", "http://x", "--memory", "9"], "in this process"),
        (["--prompt", "x", "--model", "MODEL", "--chat-template", "BYTES"], "not UTF-8"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], message: str, model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"FILE": str(prompts), "MODEL": str(model), "OUT": str(tmp_path / "out"), "BYTES": str(tmp_path / "bytes")}
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert main(["rain", *(named.get(own, own) for own in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_on_a_server_answers(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One prompt, and into a run directory that records where its model was."""
    engine = tiny_engine()
    engine.context_length, models = 2048, ["tiny"]

    def served(url: str, name: str | None, tokenizer: str | None) -> RemoteEngine:
        made = OpenAIServer(engine, longest=2048, models=models)
        return RemoteEngine(made.server(models[0]), engine.tokenizer, cache_size=100)

    engine.model.config.max_position_embeddings = 2048
    monkeypatch.setattr("momus.cli.shared.options.connect", served)
    arguments = ["rain", "--url", "http://momus.test/v1", "--cases", "0", "--max-tokens", "2", "--iterations", "4"]
    arguments += ["--embeddings", "none"]
    assert main([*arguments, "--prompt", "why?", "--json"]) == 0
    answer = RainAnswer.model_validate_json(capsys.readouterr().out)
    assert answer.answer and answer.embedding == "none" and answer.forwarded > 0
    assert main([*arguments, str(prompts), "--limit", "1", "--out", str(tmp_path / "out")]) == 0
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings["model"] == "tiny at http://momus.test/v1" and settings["embeddings"] == "none"
    models[0] = "another"  # has taken its place
    assert main([*arguments, str(prompts), "--limit", "1", "--out", str(tmp_path / "out")]) == 2
    assert "other settings (model" in capsys.readouterr().err


def said(text: str, value: float) -> JudgedText:
    return JudgedText(text=text, value=value)


def searched(best: JudgedText, *rejected: JudgedText, met: bool = True) -> SearchedSet:
    return SearchedSet(text=best.text, value=best.value, visits=7, iterations=8, met=met, best=best, rejected=rejected)


ANSWERS = [
    RainAnswer(
        index=0,
        prompt=(Message(role="user", content="q"),),
        answer="fine.",
        stopped="end",
        met=True,
        sets=(
            searched(said("fine.", 1), said("no.", -1), said("hm.", 0), said("yes.", 1), said("no.", -1)),
            searched(said("fine.", 0), said("as good.", 0)),
            searched(said("fine.", 1), said("", -1)),
            searched(said("fine.", 1), said("fine.", -1)),
        ),
    ),
    RainAnswer(index=1, prompt="q", answer="bad", met=False),
    RainAnswer(index=2, prompt="q", skipped="too long"),
]


def test_rejected_branches_are_the_rejected_side() -> None:
    (ranking,) = preferences(ANSWERS, "itself")
    assert ranking.candidates == ("fine.", "no.", "hm.")
    assert ranking.ranks == (1, 3, 2) and ranking.scores == (1, -1, 0)
    assert ranking.labeler == "itself" and ranking.prompt == ANSWERS[0].prompt


def test_only_answers_that_met_the_threshold_are_demonstrations() -> None:
    (one,) = demonstrations(ANSWERS, "itself")
    assert one == Demonstration(prompt=ANSWERS[0].prompt, answer="fine.", author="itself")


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("stopped", ["end", "length", "tokens"])
def test_what_counts_is_the_whole_answer_not_what_was_tried_on_the_way(first: bool, last: bool, stopped: str) -> None:
    sets = (searched(said("fi", 0), met=first), searched(said("fine.", 1), met=last))
    own = RainAnswer(index=0, prompt="q", answer="fine.", stopped=stopped, met=first and last, sets=sets)
    assert len(list(demonstrations([own], "itself"))) == (last and stopped == "end")


def test_exports_are_read_back(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from momus.lm.engine import Choice
    from momus.search.rain.judge import SelfJudge

    def fickle(self: SelfJudge, asked: str, answered: str) -> tuple[Choice, Choice]:
        good = float(sum(answered.encode()) % 3 > 0)
        return Choice(good, 1.0), Choice(1 - good, 1.0)

    monkeypatch.setattr("momus.search.rain.judge.SelfJudge.compare_labels", fickle)
    out = tmp_path / "out"
    arguments = ["rain", str(prompts), "--model", str(model), "--cases", "0", "--max-tokens", "4", "--limit", "2"]
    for kind in ("preferences", "demonstrations"):
        assert main([*arguments, "--out", str(out), "--export", kind]) == 0
    assert "rankings" not in capsys.readouterr().out
    rankings = list(read_jsonl(out / "preferences.jsonl", Ranking))
    assert rankings and all(own.ranks[0] == 1 and max(own.ranks) > 1 for own in rankings)
    assert main(["data", "inspect", str(out / "preferences.jsonl")]) == 0


def test_what_is_answered_is_laid_out() -> None:
    engine = tiny_engine()
    rain = Rain.of(engine, TASK)
    task = rain.encode_prompt(Task(id="f", question="", answer="x = 1"))
    assert (
        engine.decode(task.tokens) == "```python\nx = 1\n```\n" and task.question == "x = 1" and not task.stop_strings
    )
    turns = tuple(Message(role=r, content=t) for r, t in (("user", "a"), ("assistant", "b"), ("user", "User: c")))
    talk = rain.encode_prompt(Prompt(prompt=turns))
    assert engine.decode(talk.tokens).endswith("User: User: c\n\nAssistant:") and talk.question == "User: c"
    assert talk.stop_strings == ("\n\nUser:",) and 2 in talk.end_tokens


def test_both_ways_answer_alike() -> None:
    fast, plain = Rain.of(tiny_engine(), TASK), reference_rain(tiny_engine(cache_bytes=0), TASK)
    one, other = (search.answer(3, Task(id="", question="", answer="total = 1"), 0) for search in (fast, plain))
    assert one.answer == other.answer and [s.visits for s in one.sets] == [s.visits for s in other.sets]
    assert one.forwarded < other.forwarded
