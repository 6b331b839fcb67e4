"""Critiques for a whole data set: the same bytes however it is cut, wherever it runs, whatever is killed."""

import errno
import json
import os
import re
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from momus import __version__
from momus.cli import main
from momus.critics import dataset, run
from momus.critics.dataset import critique_dataset, in_process
from momus.critics.on_ray import on_ray
from momus.critics.run import BATCH, BadLinesError, TaskCritiques, read_records
from momus.critics.shard import CritiqueConfig
from momus.errors import UserError
from momus.lm.models import RewardModel, save_causal_lm
from momus.records import Bug, Tamper, Task, read_jsonl, write_jsonl
from support import forked
from support.reward_servers import RewardServer
from support.tiny import tiny_model, tiny_tokenizer

TASKS = 21


def named(name):
    """Make a reward on a server that says no more than its name."""

    def init(self, *arguments):
        self.name = name

    return init


def task(number):
    lines = [f"    total += {number} * {i}" for i in range(1 + number % 3)]
    return Task(id=f"t{number}", question="", answer="\n".join([f"def f{number}(total):", *lines]))


def tamper(number):
    given = task(number)
    bug = Bug(kind="sign", spans=((0, 3),), description="Wrong sign.", original="+", replacement="-")
    return Tamper(task=given, answer=given.answer.replace("+", "-"), bugs=(bug,))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A critic, a reward model and an input with both kinds of record and an answer that is too long."""
    folder = tmp_path_factory.mktemp("files")
    model = tiny_model()
    save_causal_lm(model, folder / "model", tiny_tokenizer())
    torch.manual_seed(0)
    RewardModel.from_causal_lm(model).save(folder / "reward")
    records = [tamper(i) if i % 4 == 1 else task(i) for i in range(TASKS)]
    records[5] = Task(id="long", question="", answer="x = 1\n" * 400)
    write_jsonl(folder / "tasks.jsonl", records)
    return folder


@pytest.fixture(scope="module")
def config(files):
    return CritiqueConfig(model=files / "model", reward=files / "reward", method="fsbs", n=2, max_tokens=16)


@pytest.fixture(scope="module")
def whole(files, config, tmp_path_factory):
    """The critiques of one undisturbed run in this process: what all others must equal."""
    return critique_dataset(files / "tasks.jsonl", tmp_path_factory.mktemp("whole") / "run", config).read_bytes()


def test_every_task_is_there_in_order_with_its_best_critique(whole, files, tmp_path):
    (tmp_path / "critiques.jsonl").write_bytes(whole)
    tasks = list(read_jsonl(tmp_path / "critiques.jsonl", TaskCritiques))
    records = read_records(Path("tasks"), (files / "tasks.jsonl").read_bytes())
    assert [task.index for task in tasks] == list(range(TASKS))
    assert [task.id for task in tasks] == ["long" if i == 5 else f"t{i}" for i in range(TASKS)]
    assert tasks[5].critiques == () and "too long: a prompt of" in tasks[5].skipped
    for task, record in zip(tasks, records, strict=True):
        if task.index != 5:
            (written,) = task.critiques
            assert not task.skipped and written.score is not None and written.tokens > 1
            assert written.critique.comments, "fsbs forces a highlight"
            assert all(comment.highlight in record.answer for comment in written.critique.anchored)


@pytest.mark.parametrize("shard", [1, 16])
def test_the_size_of_a_shard_changes_nothing(whole, files, config, tmp_path, shard):
    path = critique_dataset(files / "tasks.jsonl", tmp_path / "run", config, shard_size=shard)
    assert path.read_bytes() == whole
    size = -(-shard // BATCH) * BATCH
    assert len(list((tmp_path / "run" / "shards").iterdir())) == -(-TASKS // size)


def test_threads_of_the_caller_are_left_as_they_were(files, config, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        critique_dataset(files / "tasks.jsonl", tmp_path / "run", replace(config, method="sample", max_tokens=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def interrupted(after, error):
    """Do shards in this process, and stop before one of them."""

    def runner(config, shards):
        for number, done in enumerate(in_process(config, shards)):
            if number == after:
                raise error
            yield done

    return runner


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_run_keeps_its_shards_and_continues(whole, files, config, tmp_path, error):
    out, seen = tmp_path / "run", []
    with pytest.raises(type(error)):
        critique_dataset(files / "tasks.jsonl", out, config, shard_size=8, runner=interrupted(1, error))
    assert [file.name for file in (out / "shards").iterdir()] == ["00000.jsonl"]
    assert not (out / "critiques.jsonl").exists()
    (out / "shards" / "00001.jsonl").write_text("cut sho")  # not a whole shard: done again

    def runner(config, shards):
        seen.extend(shard.number for shard in shards)
        yield from in_process(config, shards)

    path = critique_dataset(files / "tasks.jsonl", out, config, shard_size=8, runner=runner)
    assert (seen, path.read_bytes()) == ([1, 2], whole)
    critique_dataset(
        files / "tasks.jsonl", out, config, shard_size=8, runner=interrupted(0, AssertionError("done again"))
    )


def test_a_run_is_refused_to_another_input_or_other_settings(files, config, tmp_path):
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "run"
    quick = replace(config, method="sample", n=1, max_tokens=2)
    tasks.write_bytes(task(1).model_dump_json().encode())
    critique_dataset(tasks, out, quick)
    stored = json.loads((out / "config.json").read_text())
    assert stored["config"]["n"] == 1 and stored["files"]["tasks"] == str(tasks)

    def refused(words, *arguments, **options):
        with pytest.raises(UserError, match=words):
            critique_dataset(*arguments, **options)

    refused("seed 0 -> 7, shard 32 -> 8", tasks, out, replace(quick, seed=7), shard_size=5)
    refused("another --reward", tasks, out, replace(quick, reward=None))
    refused("another --model", tasks, out, replace(quick, model=files / "reward"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "__version__", "9.9")
        refused(rf"other settings \(momus '{re.escape(__version__)}' -> '9.9'\)", tasks, out, quick)
    with run._opened(out, stored["config"], {}):
        refused("at work in", tasks, out, quick)
    tasks.write_bytes(task(2).model_dump_json().encode())
    refused("another input, or the file has changed", tasks, out, quick)
    refused("from nowhere", tasks, tmp_path / "new", replace(quick, model=Path("nowhere")))
    assert not (tmp_path / "new").exists()


def test_a_run_is_refused_to_another_model_on_the_same_server(files, tmp_path, monkeypatch):
    served = RewardServer("vllm", lambda text: [float(sum(text) % 7)])
    monkeypatch.setattr("momus.search.reward_server._connect", lambda url: served.server())
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "run"
    tasks.write_bytes(task(1).model_dump_json().encode())
    config = CritiqueConfig(
        model=files / "model", reward_url="http://momus.test/v1", method="best-of-n", n=2, max_tokens=4
    )
    done = critique_dataset(tasks, out, config).read_bytes()
    stored = json.loads((out / "config.json").read_text())["config"]
    assert stored["reward"].startswith("rm at ") and stored["reward_url"] == "http://momus.test/v1"
    assert critique_dataset(tasks, out, config).read_bytes() == done
    monkeypatch.setattr("momus.search.reward_server.RemoteReward.__init__", named("other at there by /classify"))
    with pytest.raises(UserError, match="another --reward"):
        critique_dataset(tasks, out, config)


def test_samples_are_all_kept_and_named_by_the_seed_and_the_place_in_the_input(files, tmp_path):
    config = CritiqueConfig(model=files / "model", n=3, max_tokens=8, seed=1)
    tasks = tmp_path / "tasks.jsonl"
    write_jsonl(tasks, [task(0), task(0)])

    def written(name, config):
        path = critique_dataset(tasks, tmp_path / name, config)
        return [[critique.text for critique in task.critiques] for task in read_jsonl(path, TaskCritiques)]

    first, second = written("run", config)
    assert len(first) == len(second) == 3 and first != second
    assert written("same", config) == [first, second] != written("other", replace(config, seed=2))


def test_as_in_the_paper_quotes_are_forced_but_may_be_anything(files, config, tmp_path):
    tasks = tmp_path / "tasks.jsonl"
    write_jsonl(tasks, [task(0), task(1), task(2)])

    def quoted(name, config):
        results = read_jsonl(critique_dataset(tasks, tmp_path / name, config), TaskCritiques)
        return [comment.span is not None for task in results for w in task.critiques for comment in w.critique.comments]

    longer = replace(config, max_tokens=40)
    kept = quoted("kept", longer)
    assert kept and all(kept)
    assert not all(quoted("paper", replace(longer, verbatim=False)))


def test_one_answer_that_cannot_be_searched_costs_only_itself(files, config, tmp_path):
    tasks = tmp_path / "tasks.jsonl"
    write_jsonl(tasks, [task(0), Task(id="blank", question="", answer=""), task(2)])
    results = list(read_jsonl(critique_dataset(tasks, tmp_path / "run", config), TaskCritiques))
    assert [bool(task.critiques) for task in results] == [True, False, True]
    assert "without lines" in results[1].skipped


def test_a_diverged_model_fails_the_run_and_not_single_answers(files, config, tmp_path):
    model = tiny_model()
    model.lm_head.weight.data.fill_(float("nan"))
    save_causal_lm(model, tmp_path / "model", tiny_tokenizer())
    with pytest.raises(UserError, match="not numbers"):
        critique_dataset(files / "tasks.jsonl", tmp_path / "run", replace(config, model=tmp_path / "model"))
    assert not list((tmp_path / "run").glob("shards/*.jsonl")), "a shard of nothing must not count as done"


BAD = {
    b"{": "not JSON",
    b'{"id": "a", "question": ""}': "answer: missing: add it",
    b'{"id": "a", "question": "", "answer": "x", "cod": 1}': "cod: unknown: remove it",
    b'{"id": 3, "question": "", "answer": "x"}': "id: Input should be a valid string",
    b'{"answer": "x", "task": {"id": "a", "question": ""}}': "task.answer: missing: add it",
    b"[]": "not a record",
    b'"\xff"': "not UTF-8",
}


def test_every_bad_line_has_a_line_in_the_error(tmp_path, capsys):
    path = tmp_path / "tasks.jsonl"
    good = task(1).model_dump_json().encode()
    path.write_bytes(b"\n".join([good, b"", *BAD]))
    assert main(["critique", str(path), "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(BAD)
    for number, (line, words) in enumerate(zip(lines, BAD.values(), strict=True), 3):
        assert line.startswith(f"momus: error: {path}:{number}: ") and words in line
    assert not (tmp_path / "run").exists()
    with pytest.raises(BadLinesError, match=r":3: not JSON.* \(and 6 more bad lines\)"):
        read_records(path, path.read_bytes())
    with pytest.raises(UserError, match="holds no tasks"):
        read_records(path, b"\n \n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "fsbs"], "--method fsbs needs --reward"),
        (["--modifier", "1"], "--modifier chooses among critiques"),
        (["--method", "fsbs", "--n", "1", "--reward", "r"], "FSBS needs 1 <= k <= n"),
        (["--n", "0"], "--n 0: must be at least 1"),
        (["--seed", "-1"], "--seed -1: must be from 0 to 4294967295"),
        (["--shard", "0"], "--shard 0: must be at least 1"),
        (["--workers", "2"], "--workers is for Ray"),
        (["--ray", "--workers", "0"], "--workers 0: must be at least 1"),
        (["--reward", "nowhere"], "nowhere: no such directory"),
    ],
)
def test_wrong_options_are_one_line(files, tmp_path, capsys, options, words):
    assert main(["critique", str(files / "tasks.jsonl"), "--out", str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_without_ray_the_error_names_what_to_install(monkeypatch, files, config, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'momus\[ray\]'"):
        critique_dataset(files / "tasks.jsonl", tmp_path / "run", config, runner=on_ray)


def test_the_command_says_where_the_critiques_are_and_what_was_skipped(files, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--model", str(files / "model"), "--max-tokens", "2", "--out", str(out)]
    assert main(["critique", str(files / "tasks.jsonl"), *options]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1 tasks have no critique; the first, 'long': too long" in shown.err
    assert shown.err.endswith(f"The critiques are {out / 'critiques.jsonl'}\n")


@pytest.fixture(scope="module")
def ray_here():
    """A local Ray of two CPUs, shared by the tests below; never a cluster that happens to be up."""
    ray = pytest.importorskip("ray")
    patience = {"agent_register_timeout_ms": 100_000, "worker_register_timeout_seconds": 600}  # for a busy machine
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for name, value in patience.items():
            patch.setenv(f"RAY_{name}", str(value))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()


@pytest.mark.slow
def test_ray_gives_the_same_bytes_although_workers_are_killed(ray_here, whole, files, config, tmp_path):
    killed = []

    def on_ray_killing(config, shards):
        for done in on_ray(config, shards, workers=2):
            if not killed:  # the other worker is in the middle of its shard, this one's next has begun
                killed.extend(workers())
                for process in killed:
                    os.kill(process, signal.SIGKILL)
            yield done

    def workers():
        actors = ray_here._private.state.actors().values()
        alive = [actor for actor in actors if actor["ActorClassName"] == "Worker" and actor["State"] == "ALIVE"]
        return [actor["Pid"] for actor in alive]

    path = critique_dataset(files / "tasks.jsonl", tmp_path / "run", config, shard_size=8, runner=on_ray_killing)
    assert killed
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_user_errors_on_ray_are_one_line(ray_here, files, config, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    one, many = (partial(on_ray, workers=workers) for workers in (1, 3))
    with pytest.raises(UserError, match="holds no weights") as caught:
        critique_dataset(files / "tasks.jsonl", tmp_path / "run", replace(config, model=broken), runner=one)
    assert "Traceback" not in str(caught.value)
    with pytest.raises(UserError, match="--workers 3 of --threads 1 need 3 CPUs, and the Ray cluster has 2"):
        critique_dataset(files / "tasks.jsonl", tmp_path / "many", config, runner=many)


@pytest.mark.slow
def test_control_c_ends_with_130_and_the_same_command_continues(whole, files, config, tmp_path):
    out = tmp_path / "run"
    options = [str(files / "tasks.jsonl"), "--out", str(out), "--model", str(config.model)]
    options += ["--reward", str(config.reward), "--method", "fsbs", "--n", "2", "--max-tokens", "16", "--shard", "8"]
    process = forked.start(main, ["critique", *options], stderr=tmp_path / "stderr")
    while not (out / "shards" / "00000.jsonl").exists():
        assert process.is_alive(), (tmp_path / "stderr").read_text()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert forked.finish(process) == 130
    assert (tmp_path / "stderr").read_text() == "momus: interrupted\n"
    assert not (out / "critiques.jsonl").exists()
    assert main(["critique", *options]) == 0
    assert (out / "critiques.jsonl").read_bytes() == whole
