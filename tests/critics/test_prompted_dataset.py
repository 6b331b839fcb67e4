"""`momus critique` by a model that chats: a run directory like any other, an estimate, a cost, a budget."""

import copy
import json

import pytest

from momus.cli import main
from momus.critics.open import is_prompted
from momus.critics.run import TaskCritiques
from momus.errors import UserError
from momus.lm.chat import PLAIN
from momus.lm.models import save_causal_lm
from momus.records import Bug, Tamper, Task, read_jsonl, write_jsonl
from support.chat_server import Reply, chat_server
from support.tiny import tiny_model, tiny_tokenizer

COUNT = 12


def _task(number):
    return Task(id=f"t{number}", question="Add them.", answer=f"def f{number}(a, b):\n    return a - b\n")


def _say(question, count):
    comment = {"line": 2, "quote": "return a - b", "severity": "error", "problem": "Should be `a + b`."}
    return json.dumps({"comments": [] if "def f3(" in question else [comment]})


@pytest.fixture
def tasks(tmp_path):
    bug = Bug(kind="sign", spans=((24, 25),), description="Wrong sign.", original="+", replacement="-")
    records = [_task(i) for i in range(COUNT)]
    records[1] = Tamper(task=records[1].model_copy(update={"answer": "right"}), answer=records[1].answer, bugs=(bug,))
    records[7] = Task(id="t7", question="", answer="x = 1  # def \n" * 3000)
    write_jsonl(tmp_path / "tasks.jsonl", records)
    return tmp_path / "tasks.jsonl"


def test_every_task_is_there_in_order_with_what_the_model_said(tasks, tmp_path, capsys):
    with chat_server(_say, "def ") as server:
        command = ["critique", str(tasks), "--out", str(tmp_path / "run"), "--url", server.url, "--shard", "8"]
        assert main(command) == 0
        told = capsys.readouterr().err
        assert "tokens to read and at most" in told and "tokens read and" in told
        assert "1 tasks have no critique" in told and len(server.asked) == COUNT - 1
        first = (tmp_path / "run" / "critiques.jsonl").read_bytes()
        assert main(command) == 0 and len(server.asked) == COUNT - 1
    rows = list(read_jsonl(tmp_path / "run" / "critiques.jsonl", TaskCritiques))
    assert (tmp_path / "run" / "critiques.jsonl").read_bytes() == first
    assert [row.id for row in rows] == [f"t{i}" for i in range(COUNT)]
    assert "too long" in rows[7].skipped and not rows[3].critiques[0].critique.comments
    (comment,) = rows[1].critiques[0].critique.comments
    assert (comment.line, comment.severity, comment.highlight) == (2, "error", "return a - b")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert stored["kind"] == "prompted" and stored["model"]["model"] == "m"


def test_what_a_budget_left_is_done_next_time(tasks, tmp_path, capsys):
    with chat_server(_say, "def ") as server:
        command = ["critique", str(tasks), "--out", str(tmp_path / "run"), "--url", server.url, "--shard", "8"]
        assert main([*command, "--budget-tokens", "3000"]) == 2
        assert "the budget of tokens is spent" in capsys.readouterr().err
        asked = len(server.asked)
        assert 0 < asked < COUNT - 1 and not (tmp_path / "run" / "critiques.jsonl").exists()
        assert main(command) == 0 and len(server.asked) == COUNT - 1
        assert main([*command, "--rules", str(tasks)]) == 2, "other rules would be another run"


def test_samples_are_all_kept(tmp_path):
    write_jsonl(tmp_path / "tasks.jsonl", [_task(0)])
    with chat_server(lambda question, count: _say(question, count) if count != 2 else "hm", "def ") as server:
        command = ["critique", str(tmp_path / "tasks.jsonl"), "--out", str(tmp_path / "run"), "--url", server.url]
        assert main([*command, "--n", "3", "--prompt", "answer"]) == 0
        assert len(server.asked) == 4, "what cannot be read is asked for once more"
        assert all("You review an answer" in question for question in server.asked)
    (row,) = read_jsonl(tmp_path / "run" / "critiques.jsonl", TaskCritiques)
    assert len(row.critiques) == 3


def test_a_task_that_is_refused_is_counted_with_the_reason(tmp_path, capsys):
    write_jsonl(tmp_path / "tasks.jsonl", [_task(0), _task(1)])
    with chat_server(
        lambda question, count: Reply(None, refusal="No.") if "def f1(" in question else _say(question, count), "def "
    ) as server:
        command = ["critique", str(tmp_path / "tasks.jsonl"), "--out", str(tmp_path / "run"), "--url", server.url]
        assert main(command) == 0
    assert "1 tasks have no critique; the first, 't1': the model declines: No." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "fsbs"], "models of this process"),
        (["--ray"], "--ray and --threads"),
        (["--reward", "."], "give --method fsbs or best-of-n"),
        (["--n", "0"], "--n 0"),
        (["--max-tokens", "0"], "--max-tokens 0"),
        (["--kind", "trained"], "--kind trained"),
        (["--device", "cpu"], "a server decides for itself"),
    ],
)
def test_what_does_not_go_with_a_server_is_one_line(tasks, tmp_path, capsys, options, words):
    command = ["critique", str(tasks), "--out", str(tmp_path / "run"), "--url", "http://127.0.0.1:9/v1"]
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error


@pytest.mark.parametrize("options", [["--rules", "x.md"], ["--budget-tokens", "5"], ["--kind", "prompted"]])
def test_what_is_for_prompted_critics_is_refused_of_the_shipped_one(tasks, tmp_path, capsys, options):
    assert main(["critique", str(tasks), "--out", str(tmp_path / "run"), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_folder_with_a_chat_template_is_prompted_unless_it_is_marked_or_the_flag_says_otherwise(tmp_path):
    tokenizer = copy.deepcopy(tiny_tokenizer())
    save_causal_lm(tiny_model(), tmp_path / "plain", tokenizer)
    tokenizer.chat_template = PLAIN
    save_causal_lm(tiny_model(), tmp_path / "chat", tokenizer)
    save_causal_lm(tiny_model(), tmp_path / "critic", tokenizer, critic=True)
    assert [is_prompted(tmp_path / name) for name in ("plain", "chat", "critic")] == [False, True, False]
    assert is_prompted(tmp_path / "critic", kind="prompted") and not is_prompted(tmp_path / "chat", kind="trained")
    assert not is_prompted(None) and is_prompted("m", "http://x/v1")
    with pytest.raises(UserError, match="--kind prompted"):
        is_prompted(None, kind="prompted")


def test_a_model_that_answers_nothing_is_no_success(tasks, tmp_path, capsys):
    with chat_server(lambda question, count: Reply(None, refusal="No."), "") as server:
        assert main(["critique", str(tasks), "--url", server.url, "--out", str(tmp_path / "out")]) == 2
    assert f"no task has a critique; the first of {COUNT}, 't0': the model declines: No." in capsys.readouterr().err
