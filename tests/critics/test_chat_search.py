"""Force Sampling Beam Search with a model that chats: its critiques are JSON, and a pointer draws the lines."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from momus.cli import main
from momus.critics.critic import LengthDial
from momus.critics.open import open_critic
from momus.critics.prompted import PromptedConfig
from momus.critics.run import TaskCritiques
from momus.critics.trained import SearchConfig, SearchCritic
from momus.critique import lines_of
from momus.errors import UserError
from momus.lm.json_form import JsonForm
from momus.lm.models import RewardModel, save_causal_lm
from momus.lm.pointers import LINE_POINTER_FILE
from momus.lm.pointers.line_pointer import BaseIdentity, HeadShape, LineHead, LinePointer
from momus.lm.pointers.line_states import Reads
from momus.records import Task, read_jsonl, write_jsonl
from momus.search.fsbs import FSBSConfig
from momus.search.result import RewardSource
from support.tiny import llama, tiny_tokenizer

CODE = "def f{}(xs):\n    total = 0\n\n    for x in xs:\n        total += x\n    return total / len(xs)"
TASKS = [Task(id=f"t{i}", question="Return the mean.", answer=CODE.format(i)) for i in range(3)]
SHORT = Task(id="short", question="", answer="a = 1\nb = 2")
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that chats, a reward model of its own, and one of another layout, all random."""
    folder, tokenizer = tmp_path_factory.mktemp("chats"), copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = TEMPLATE
    base, judge = llama(vocab=len(tokenizer)), llama(vocab=len(tokenizer), seed=3)
    for model in (base, judge):
        model.config.max_position_embeddings = 4096
    save_causal_lm(base, folder / "base", tokenizer)
    RewardModel.from_causal_lm(judge).save(folder / "reward", tokenizer=tokenizer)
    tokenizer.chat_template = TEMPLATE.replace("}}: {{", "}}> {{").replace("assistant: ", "assistant> ")
    RewardModel.from_causal_lm(judge).save(folder / "other", tokenizer=tokenizer)
    return folder


@pytest.fixture(autouse=True)
def short_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonForm, "longest_text", 12)  # random models end no sentence by themselves


def command(models: Path, folder: Path, run: Path) -> list[str]:
    write_jsonl(folder / "tasks.jsonl", TASKS)
    return ["critique", str(folder / "tasks.jsonl"), "--out", str(run), "--model", str(models / "base")]


def critiques(models: Path, out: Path, *options: str) -> list[TaskCritiques]:
    write_jsonl(out / "tasks.jsonl", [*TASKS, SHORT] * 3)
    given = ["--model", str(models / "base"), "--reward", str(models / "reward"), "--max-tokens", "40"]
    run = out / f"run{len(list(out.iterdir()))}"
    assert main(["critique", str(out / "tasks.jsonl"), "--out", str(run), *given, *options]) == 0
    return list(read_jsonl(run / "critiques.jsonl", TaskCritiques))


@pytest.mark.parametrize("method", ["fsbs", "best-of-n"])
def test_a_score_takes_the_place_of_a_reward_model(models: Path, tmp_path: Path, method: str) -> None:
    run, score = tmp_path / "run", ["--method", method, "--n", "2", "--score", "samples", "--max-tokens", "40"]
    assert main([*command(models, tmp_path, run), *score]) == 0
    assert all(row.critiques for row in read_jsonl(run / "critiques.jsonl", TaskCritiques))


@pytest.mark.parametrize("method", ["fsbs", "best-of-n"])
def test_a_data_set_is_searched_with_a_model_that_chats(models: Path, tmp_path: Path, method: str) -> None:
    rows = critiques(models, tmp_path, "--method", method, "--n", "2", "--modifier", "1000")
    assert rows == critiques(models, tmp_path, "--method", method, "--n", "2", "--modifier", "1000", "--shard", "16")
    for task, row in zip([*TASKS, SHORT] * 3, rows, strict=True):
        (written,) = row.critiques
        assert written.score is not None and not written.critique.unanchored
        assert all(comment.highlight in task.answer for comment in written.critique.comments)
    if method == "fsbs":
        (quiet,) = {row.critiques for row in critiques(models, tmp_path, "--method", method, "--modifier", "-1000")[:1]}
        assert len(quiet[0].critique.comments) <= len(rows[0].critiques[0].critique.comments)


def small_search(models: Path, **options: object) -> SearchCritic:
    critic = open_critic(
        models / "base",
        RewardSource(models / "reward"),
        device="cpu",
        precision="fp32",
        **options,  # type: ignore[arg-type]
    )
    assert isinstance(critic, SearchCritic) and critic._config.fsbs == FSBSConfig(max_tokens=900)
    critic._config = SearchConfig(FSBSConfig(n=3, k=2, d=3, max_tokens=120))
    return critic


def test_every_candidate_has_a_comment_more_than_what_it_goes_on_from_and_silence_competes(models: Path) -> None:
    critic = small_search(models)
    first, second, third = critic.write(TASKS)
    (alone,) = critic.write(TASKS[1:2])  # whatever else is searched with it
    assert [(c.text, c.round) for c in alone.candidates] == [(c.text, c.round) for c in second.candidates]
    assert [c.score for c in alone.candidates] == pytest.approx([c.score for c in second.candidates], abs=1e-4)
    assert isinstance(critic.dial, LengthDial) and not hasattr(critic, "languages")
    assert first.candidates[0].critique.comments == () and json.loads(first.candidates[0].text) == {"comments": []}
    for result in (first, second, third):
        for found in result.candidates[1:]:
            kept = critic.writer.form.strip_end(found.text)
            assert kept or found.text.count('"line"') == 1  # unless the first comment was cut off
            earlier = [c for c in result.candidates[1:] if c.round == found.round - 1]
            beams = {critic.writer.form.strip_end(c.text) for c in earlier}
            assert found.round == 1 or any(not beam or found.text.startswith(f"{beam},") for beam in beams)
    assert len(first.candidates) == 1 + 3 + 2 * 2 * 3


def test_answers_with_fewer_lines_than_rounds_are_searched_and_one_that_does_not_fit_is_said(models: Path) -> None:
    critic = small_search(models)
    long = TASKS[0].model_copy(update={"answer": CODE.format(9) + "\n    x = 1" * 600})
    assert critic.fits(SHORT) and not critic.fits(long)
    found, none = critic.write([SHORT, long])
    assert max(len(c.critique.comments) for c in found.candidates) >= 3  # two lines, three rounds
    assert not none.candidates and "exceed the 4096" in none.problem


def test_what_a_tokenizer_writes_otherwise_is_searched_as_it_stands(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "base", tmp_path / "base")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "NFC"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    critic = open_critic(folder, RewardSource(models / "reward"), device="cpu", precision="fp32", pointer="none")
    assert isinstance(critic, SearchCritic)
    critic._config = SearchConfig(FSBSConfig(n=2, k=1, d=3, max_tokens=120))
    accented = Task(id="nfd", question="", answer="a = 'e\u0301'\nb = 'o\u0308'")
    (result,) = critic.write([accented])
    lasts = [c for c in result.candidates if c.round == 3]
    assert lasts and all(len(c.critique.anchored) == len(c.critique.comments) for c in lasts)
    assert any(comment.highlight == "a = 'e\u0301'" for c in lasts for comment in c.critique.comments)


def test_the_pointer_draws_the_lines(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, model = LineHead(HeadShape(32, Reads((1, 2)), width=16)), llama(vocab=len(tiny_tokenizer()))
    path = tmp_path / LINE_POINTER_FILE
    LinePointer([head], BaseIdentity.of("base", model.config, tiny_tokenizer())).save(path)
    odds = (-99.0, -99.0, -99.0, -99.0, 9.0, -99.0)
    monkeypatch.setattr(LinePointer, "line_log_odds", lambda self, read: [odds] * len(read))
    with_pointer, without = small_search(models, pointer=str(path)), small_search(models, pointer="none")
    assert with_pointer.identity() != without.identity()
    for result, task in zip(with_pointer.write(TASKS), TASKS, strict=True):
        firsts = [c.critique.comments[0] for c in result.candidates[1:] if c.critique.comments]
        assert firsts and all(comment.span for comment in firsts)
        assert {lines_of(c.span, task.answer)[0] for c in firsts if c.span} == {4}


def test_what_cannot_be_searched_with_is_one_line(models: Path, tmp_path: Path) -> None:
    reward = RewardSource(models / "reward")
    with pytest.raises(UserError, match="in this process, and no server"):
        open_critic("name", reward, url="http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match="--samples and --without-comments"):
        open_critic(models / "base", reward, prompted=PromptedConfig(samples=3))
    with pytest.raises(UserError, match="another chat template"):
        open_critic(models / "base", RewardSource(models / "other"))
    given = command(models, tmp_path, tmp_path / "run")
    assert main([*given, "--method", "fsbs", "--reward", str(models / "other")]) == 2
    assert main([*given, "--method", "fsbs"]) == 2
    tight = ["--method", "fsbs", "--reward", str(models / "reward"), "--max-tokens", "4000"]
    assert main([*given, *tight]) == 2  # no prompt fits beside so long an answer
    assert main([*given, "--method", "fsbs", "--reward", str(models / "reward"), "--paper"]) == 2
