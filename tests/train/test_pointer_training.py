"""`momus train pointer`: the losses, the choice of what to go by, the run directory, the command."""

import json
import os
import random
import signal
from pathlib import Path
from typing import cast

import pytest
import torch

from momus.cli import main
from momus.errors import UserError
from momus.lm.models import save_causal_lm
from momus.lm.pointers import LINE_POINTER_FILE
from momus.lm.pointers.line_pointer import UNPAIRED_SHIFT, HeadShape, LinePointer, pad_lines
from momus.lm.pointers.line_states import LineReader, LineStates, Reads
from momus.records import Tamper, Task, write_jsonl
from momus.runtime.runs import Run
from momus.tamper.insert import tamper
from momus.train.pointers.data import gather_tampers
from momus.train.pointers.pointer import (
    Lesson,
    add_right_code,
    choose_reads,
    first_line_hits,
    fit_head,
    make_lesson,
    pointing_loss,
    telling_loss,
)
from momus.train.pointers.settings import PointerConfig, PointerData
from momus.train.pointers.stage import PointerSource, run_pointer
from support import forked
from support.tiny import llama, tiny_tokenizer

SMALL = PointerConfig(heads=2, width=16, layers=1, attention_heads=2, passes=2, batch=4, warmup=2, pairs=True)
FUNCTION = """def f{n}(items, k):
    total = {n}
    for x in items[1:]:
        if x > k:
            total += x
    return total"""


def tampers(count: int, start: int = 0, bugs: int = 1) -> list[Tamper]:
    made = (
        tamper(
            Task(id=str(n), question="Add up.", answer=FUNCTION.format(n=n), split="train" if n % 4 else "valid"),
            bugs,
            random.Random(n),
        )
        for n in range(start, start + count)
    )
    return [each for each in made if each is not None]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pointer")
    save_causal_lm(llama(vocab=len(tiny_tokenizer())), folder / "base", tiny_tokenizer())
    write_jsonl(folder / "tampers.jsonl", tampers(60))
    return folder


def source(here: Path) -> PointerSource:
    data = PointerData(functions=30, held_out=12)
    return PointerSource(str(here / "base"), records=[here / "tampers.jsonl"], data=data, precision="fp32", twice=True)


def outcome(out: Path) -> dict[str, bytes]:
    names = ("summary.json", "metrics.jsonl", f"pointer/{LINE_POINTER_FILE}")
    return {name: (out / name).read_bytes().replace(str(out).encode(), b"OUT") for name in names}


def run_until(here: Path, out: Path, kill_at: int | None) -> None:
    """Train, and be killed where it is said for the n-th time what is being done."""
    torch.set_num_threads(1)
    calls = 0

    def say(what: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    run_pointer(source(here), SMALL, out, say)


def test_the_loss_is_an_even_choice_among_buggy_lines_and_a_judgement_of_each():
    scores = torch.tensor([[1.0, 2.0, -torch.inf, 0.5], [0.3, -torch.inf, -torch.inf, -torch.inf]])
    written = scores > -torch.inf
    buggy = torch.tensor([[True, False, False, True], [False, False, False, False]])
    log_p = torch.tensor([1.0, 2.0, 0.5]).log_softmax(-1)
    choice = -(log_p[0] + log_p[2]) / 2
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([1.0, 2.0, 0.5, 0.3]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    )
    torch.testing.assert_close(pointing_loss(scores, buggy, written), choice + each)
    clean = pointing_loss(scores, buggy & False, written)
    assert torch.isfinite(clean) and clean > 0


def test_a_head_learns_what_the_states_show():
    def lesson(rng: torch.Generator) -> Lesson:
        bug = int(torch.randint(6, (), generator=rng))
        states = torch.randn(6, 1, 1, 1, 8, generator=rng)
        states[bug, ..., 0] += 6.0
        return Lesson(
            LineStates(states.half(), torch.zeros(6, 6), torch.ones(6, dtype=torch.bool)), torch.arange(6) == bug
        )

    rng = torch.Generator().manual_seed(0)
    lessons, held_out = [lesson(rng) for _ in range(200)], [lesson(rng) for _ in range(60)]
    config = PointerConfig(width=16, layers=1, attention_heads=2, passes=6, learning_rate=5e-3, warmup=5)
    fitted = fit_head(HeadShape(8, Reads((0,), (0,), ("mean",)), 16, 1, 2), lessons, held_out, config, seed=0)
    assert fitted.accuracy > 0.9
    hits = first_line_hits(fitted.head, held_out)
    assert sum(hits) / len(hits) == fitted.accuracy
    assert round(fitted.accuracy, 4) == max(line["held_out"] for line in fitted.history)


def test_telling_apart_is_the_logistic_loss_of_the_summed_odds():
    wrong, right = (
        torch.tensor([[1.0, -torch.inf, 3.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[2.0, -torch.inf], [1.0, 1.0]]),
    )
    sums = [(row.exp().sum().log(), other.exp().sum().log()) for row, other in zip(wrong, right, strict=True)]
    expected = torch.stack([-(one - other).sigmoid().log() for one, other in sums]).mean()
    torch.testing.assert_close(telling_loss(wrong, right), expected)


def test_a_head_learns_to_tell_an_answer_from_the_same_without_its_bug():
    def lesson(rng: torch.Generator) -> Lesson:
        """A bug is a small step of one line from a start that differs from answer to answer by far more."""
        right = 3.0 * torch.randn(5, 1, 1, 1, 8, generator=rng)
        right[..., 0] = 0.0
        wrong = right.clone()
        wrong[2, ..., 0] += 1.0
        lines = [LineStates(s.half(), torch.zeros(5, 6), torch.ones(5, dtype=torch.bool)) for s in (wrong, right)]
        return Lesson(lines[0], torch.arange(5) == 2, lines[1])

    rng = torch.Generator().manual_seed(0)
    lessons, held_out = [lesson(rng) for _ in range(200)], [lesson(rng) for _ in range(60)]
    config = PointerConfig(width=16, layers=1, attention_heads=2, passes=6, learning_rate=5e-3, warmup=5, pairs=True)
    head = fit_head(HeadShape(8, Reads((0,), (0,), ("mean",)), 16, 1, 2), lessons, held_out, config, seed=0).head

    def odds(lines: list[LineStates]) -> torch.Tensor:
        with torch.inference_mode():
            return head(*pad_lines(lines)).logsumexp(-1)

    told = odds([each.lines for each in held_out]) > odds([each.right for each in held_out if each.right])
    assert told.float().mean() > 0.9


def test_reads_are_chosen_one_after_another():
    kept = Reads((1, 2, 3, 4))
    best, trials = choose_reads(
        kept, lambda reads: (1 in reads.readings) + (reads.pools == ("last",)) - len(reads.layers)
    )
    assert best == Reads((4,), (0, 1), ("last",))  # of equals the first: all that was read
    assert len(trials) == len({str(trial) for trial in trials}) and all("held_out" in trial for trial in trials)
    assert choose_reads(Reads((1,)), lambda reads: 0.0)[0] == Reads((1,))


def test_a_lesson_marks_the_lines_of_all_bugs():
    (made,) = tampers(1, bugs=2)
    lines = made.answer.split("\n")
    lesson = make_lesson(
        made, LineStates(torch.zeros(len(lines), 1), torch.zeros(0), torch.ones(len(lines), dtype=torch.bool))
    )
    changed = [old != new for old, new in zip(made.task.answer.split("\n"), lines, strict=True)]
    assert lesson.buggy.tolist() == changed


def test_every_answer_with_a_bug_is_read_without_it_too(tmp_path):
    class Echo:
        """Says of an answer which of its lines have a "total" in them."""

        def read(self, answers):
            marks = [torch.tensor([float("total" in line) for line in answer.split("\n")]) for _, answer in answers]
            return [
                LineStates(mark[:, None], torch.zeros(0), torch.ones(len(mark), dtype=torch.bool)) for mark in marks
            ]

    made = [*tampers(70), Tamper(task=tampers(1)[0].task, answer=tampers(1)[0].task.answer, bugs=())]
    lessons = [
        make_lesson(t, states) for t, states in zip(made, Echo().read([("", t.answer) for t in made]), strict=True)
    ]
    read = add_right_code(lessons, cast(LineReader, Echo()), made, Run(tmp_path / "run", {}), lambda *_: None)
    for t, lesson, before in zip(made, read, lessons, strict=True):
        assert lesson._replace(right=None) == before and (lesson.right is None) == (not t.bugs)
        if lesson.right is not None:
            expected = [[float("total" in line)] for line in t.task.answer.split("\n")]
            assert lesson.right.states.tolist() == expected


@pytest.fixture(scope="module")
def whole(here, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert forked.finish(forked.start(run_until, here, out, None)) == 0
    return out


def test_a_run_leaves_a_pointer_its_trials_and_no_states(whole):
    summary = json.loads((whole / "summary.json").read_text())
    result = summary["result"]
    pointer = LinePointer.load(whole / "pointer" / LINE_POINTER_FILE)
    assert len(pointer.heads) == 2 and list(pointer.shape.reads.layers) == result["reads"]["layers"]
    assert pointer.shift == 0.0 and pointer.base.name == "base" and pointer.base.architecture == "llama"
    assert result["answers"] == {"train": 30, "held_out": 12} and len(result["trials"]) >= 5
    interval = result["held_out_line_first"]
    assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
    assert not (whole / "states").exists()


@pytest.mark.parametrize("kill_at", [1, 3, 8, 12])
def test_a_killed_run_continues_bit_for_bit(here, whole, tmp_path, kill_at):
    out = tmp_path / "run"
    assert forked.finish(forked.start(run_until, here, out, kill_at)) == -signal.SIGKILL
    assert forked.finish(forked.start(run_until, here, out, None)) == 0
    assert outcome(out) == outcome(whole)


def test_other_settings_are_refused_and_a_finished_run_is_not_done_again(here, whole):
    before = outcome(whole)
    assert run_pointer(source(here), SMALL, whole, lambda *_: pytest.fail("it reads again")) == json.loads(
        (whole / "summary.json").read_text()
    )
    assert outcome(whole) == before
    with pytest.raises(UserError, match="other settings"):
        run_pointer(source(here), PointerConfig(), whole, lambda *_: None)


def test_functions_are_taken_again_with_other_bugs_and_files_stay_apart(tmp_path):
    for number in range(12):
        text = FUNCTION.format(n=number).replace("total", f"sum_{number}")
        (tmp_path / f"m{number}.py").write_text(text + "\n", encoding="utf-8")
    data = PointerData(functions=40, held_out=10, clean=0.2, scripts=0.0, renamed=0.0)
    train, held_out = gather_tampers([tmp_path], [], data)
    assert len(train) == 40 and len(held_out) == 10
    assert not {t.task.id for t in train} & {t.task.id for t in held_out}
    assert len({t.answer for t in train}) > 20
    assert 0 < sum(not t.bugs for t in train) < 20
    assert gather_tampers([tmp_path], [], data) == (train, held_out)


def train_pointer(*words: object) -> int:
    return main(["train", "pointer", *map(str, words)])


def test_the_command(here, tmp_path, capsys):
    small = ["--functions", 20, "--held-out", 10, "--precision", "fp32", "--head.heads", 1, "--head.passes", 1]
    words = ["--model", here / "base", "--out", tmp_path / "run", "--tampers", here / "tampers.jsonl", *small]
    assert train_pointer(*words) == 0
    shown = capsys.readouterr().out
    assert shown.endswith(f"The pointer is {tmp_path / 'run' / 'pointer'}\n")
    assert json.loads(shown[: shown.rindex("The pointer")])["answers"] == {"train": 20, "held_out": 10}
    assert LinePointer.load(tmp_path / "run" / "pointer" / LINE_POINTER_FILE).shift == UNPAIRED_SHIFT
    assert train_pointer(*words, "--head.pairs", "--out", tmp_path / "pairs") == 0
    assert LinePointer.load(tmp_path / "pairs" / "pointer" / LINE_POINTER_FILE).shift == 0.0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--functions", "3"], "--functions 3: must be at least 10"),
        (["--clean", "1"], "--clean 1.0: must be at least 0 and below 1"),
        (["--head.pairs", "--head.batch", "1"], "batch 1: with pairs it must be at least 2"),
        (["--head.passes", "0"], "passes 0: must be at least 1"),
        (["--head.attention-heads", "5"], "width 192 is no multiple of attention_heads 5"),
        (["--tampers", "TAMPERS", "--data", "."], "name Python files with --data, or --tampers"),
        (["--data", "nowhere"], "--data nowhere: no such file or directory"),
        (["--data", "EMPTY"], "only 0 answers to learn from: at least 10"),
        (["--tampers", "BROKEN"], "BROKEN:1"),
        (["--tampers", "TAMPERS", "--most-gib", "0.00001"], "more than --most-gib 1e-05: take about"),
        (["--tampers", "TAMPERS", "--model", "EMPTY"], "EMPTY"),
        (["--tampers", "TAMPERS", "--out", "TAMPERS"], "is a file: name a directory"),
    ],
)
def test_mistakes_are_one_line(here, tmp_path, capsys, words, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").write_text("{}\n")
    names = {"TAMPERS": here / "tampers.jsonl", "EMPTY": tmp_path / "empty", "BROKEN": tmp_path / "broken"}
    given = [str(names.get(word, word)) for word in words]
    options = {"--model": str(here / "base"), "--out": str(tmp_path / "run")}
    missing = [word for name, value in options.items() if name not in given for word in (name, value)]
    assert train_pointer(*given, *missing) == 2
    error = capsys.readouterr().err.strip().split("\n")[-1]
    for name, path in names.items():
        says = says.replace(name, str(path))
    assert says in error and "Traceback" not in error
