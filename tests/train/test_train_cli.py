"""`momus train` as a user meets it: the three steps on small random models, mistakes, interruptions, the loop."""

import dataclasses
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from momus.cli import main
from momus.cli.train import command_for
from momus.lm.forward import score_trees
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel, load_causal_lm, save_causal_lm
from momus.lm.remote.server import Server
from momus.records import Demonstration, Origin, Prompt, Ranking, read_jsonl, write_jsonl
from momus.runtime.settings import Setup
from momus.train import sft
from momus.train.bases import open_base
from momus.train.reward import RankedPrompt
from momus.train.rlhf import GoldLabeler, _join, _rank_answers
from momus.train.settings import LoopConfig, PPOConfig, RewardConfig, SFTConfig, TextConfig, for_adapter
from momus.train.sft import demonstration_trees, mean_loss
from momus.train.texts import Gathered, demonstrations, prompts
from support import forked
from support.openai_server import URL
from support.reloading import Reloading
from support.tiny import tiny_model, tiny_tokenizer

SHORT = ["--max-prompt", "60", "--max-answer", "12"]
PPO = ["--iterations", "2", "--prompts-per-batch", "4", "--rollouts-per-prompt", "2", "--minibatches", "2"]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A base model, demonstrations, rankings, prompts and a text."""
    folder = tmp_path_factory.mktemp("train")
    save_causal_lm(tiny_model(), folder / "base", tiny_tokenizer())
    asked = [f"is {number} odd?" for number in range(40)]
    write_jsonl(
        folder / "demos.jsonl", (Demonstration(prompt=item, answer="yes" * (1 + len(item) % 3)) for item in asked)
    )
    ranked = (Ranking(prompt=item, candidates=("yes", "no", "maybe no"), ranks=(1, 2, 2)) for item in asked)
    write_jsonl(folder / "rankings.jsonl", ranked)
    write_jsonl(folder / "prompts.jsonl", (Prompt(prompt=item) for item in asked))
    (folder / "text.txt").write_text("for x in items: total += x\n" * 20, encoding="utf-8")
    return folder


def train(step: str, here: Path, out: Path, *more: object, model: Path | None = None) -> int:
    options = ["--preset", "tiny", "--model", model or here / "base", "--out", out, *SHORT]
    return main([str(word) for word in ("train", step, *options, *more)])


@pytest.fixture(scope="module")
def rewarded(here: Path) -> Path:
    """A reward model."""
    out = here / "reward"
    options = ["--data", here / "rankings.jsonl", "--demonstrations", here / "demos.jsonl", "--epochs", "1"]
    assert train("reward", here, out, *options) == 0
    return out


def test_sft_leaves_a_model_that_transformers_loads_and_says_what_it_did(here: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "sft"
    options = ["--data", here / "demos.jsonl", "--epochs", "2", "--learning-rate", "5e-3"]
    assert train("sft", here, out, *options) == 0
    printed = capsys.readouterr()
    assert (
        "demonstrations: " in printed.err and " held out" in printed.err and "what is trained in green" in printed.err
    )
    assert "User: is 0 odd?" in printed.err and "<|eos|>" in printed.err
    assert "Weights, gradients and optimizer take " in printed.err and "It takes at least " in printed.err
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(printed.out.rpartition("The model is ")[0]) == summary["result"]
    assert printed.out.endswith(f"The model is {out / 'model'}\n")
    assert len(summary["result"]["epochs"]) == 2 and summary["result"]["epoch_chosen_by"] == "validation loss"
    assert summary["data"]["demonstrations"]["trained"] + summary["data"]["demonstrations"]["held_out"] == 40
    assert summary["config"]["demonstrations_per_batch"] == SFTConfig.tiny().demonstrations_per_batch
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out / "model"), AutoTokenizer.from_pretrained(out / "model")
    assert model.generation_config.eos_token_id in (2, [2]) and tokenizer.chat_template
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "hm"}], tokenize=False)
    assert shown == "<|bos|>User: hm\n\n"
    # Done is done: nothing is trained again. Another setting is refused, and said which.
    before = (out / "model" / "model.safetensors").stat().st_mtime_ns
    assert train("sft", here, out, *options) == 0
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert train("sft", here, out, *options, "--seed", "5") == 2
    assert "other settings (config.seed 0 -> 5)" in capsys.readouterr().err


def test_a_reward_model_is_measured_and_its_zero_is_the_demonstrations(here: Path, rewarded: Path) -> None:
    summary = json.loads((rewarded / "summary.json").read_text())
    accuracy = summary["result"]["held_out_pair_accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert summary["data"]["rankings"]["of_answers"] == {"3": summary["data"]["rankings"]["trained"]}
    assert summary["data"]["rankings"]["tied_pairs"] == summary["data"]["rankings"]["trained"]
    model = RewardModel.load(rewarded / "model")
    assert float(model.bias) == pytest.approx(summary["result"]["bias_that_centres_demonstrations"], rel=1e-6)
    assert AutoTokenizer.from_pretrained(rewarded / "model").chat_template


def test_the_epoch_is_chosen_by_a_reward_model(here: Path, rewarded: Path, tmp_path: Path) -> None:
    options = ["--data", here / "demos.jsonl", "--epochs", "2", "--reward", rewarded / "model"]
    assert train("sft", here, tmp_path / "sft", *options) == 0
    result = json.loads((tmp_path / "sft" / "summary.json").read_text())["result"]
    scores = [line["score"] for line in result["epochs"]]
    assert result["epoch_chosen_by"] == "reward score"
    assert result["epoch_kept"] == max((score, number) for number, score in enumerate(scores, 1))[1]


def test_ppo_with_pretraining_texts_leaves_the_policy_and_its_average(
    here: Path, rewarded: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ppo"
    options = ["--data", here / "prompts.jsonl", "--reward", rewarded / "model", "--ptx-coefficient", "27.8", *PPO]
    assert train("ppo", here, out, *options) == 2  # no texts
    assert not out.exists()
    assert train("ppo", here, out, *options, "--pretraining", here / "text.txt") == 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["result"]["held_out_score"]) == {"before", "model", "ema"}
    assert summary["result"]["iterations"] == 2 and summary["result"]["first"]["kl"] == 0
    before, after, average = (
        AutoModelForCausalLM.from_pretrained(path).get_input_embeddings().weight
        for path in (here / "base", out / "model", out / "ema")
    )
    assert not torch.equal(before, after) and (average - before).norm() < (after - before).norm()


def test_an_adapter_is_merged_into_what_is_saved(here: Path, tmp_path: Path) -> None:
    options = ["--data", here / "demos.jsonl", "--epochs", "1", "--lora", "--lora.rank", "2"]
    assert train("sft", here, tmp_path / "sft", *options, "--lora.targets", "q_proj") == 0
    before, after = (
        AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (here / "base", tmp_path / "sft" / "model")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and changed and all("q_proj" in name for name in changed)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_adapter_goes_through_all_three_steps(here: Path, tmp_path: Path, precision: str) -> None:
    """Over the published base; what the summaries say is so of the models that were saved."""
    adapted = ["--lora", "--lora.rank", "2", "--precision", precision]
    sft, reward, ppo = (tmp_path / step for step in ("sft", "reward", "ppo"))
    demos = here / "demos.jsonl"
    assert train("sft", here, sft, *adapted, "--data", demos, "--epochs", "2") == 0
    more = ["--data", here / "rankings.jsonl", "--demonstrations", demos]
    assert train("reward", here, reward, *adapted, *more, model=sft / "adapter") == 0
    more = ["--data", here / "prompts.jsonl", "--reward", reward / "adapter"]
    assert train("ppo", here, ppo, *adapted, *more, *PPO, model=sft / "adapter") == 0

    summaries = {folder.name: json.loads((folder / "summary.json").read_text()) for folder in (sft, reward, ppo)}
    for folder, name in ((sft, "adapter"), (reward, "adapter"), (ppo, "adapter"), (ppo, "ema-adapter")):
        stored = json.loads((folder / name / "adapter_config.json").read_text())
        assert stored["base_model_name_or_path"] == str(here / "base") and stored["r"] == 2
        tensors = load_file(folder / name / "adapter_model.safetensors")
        assert all(".lora_" in key and tensor.dtype == torch.float32 for key, tensor in tensors.items())
    assert summaries["ppo"]["adapter"] == str(ppo / "adapter")

    base = open_base(str(here / "base"), TextConfig(60, 12), Setup())
    data = demonstrations([str(demos)], base.chat, TextConfig(60, 12))
    expected = mean_loss(load_causal_lm(sft / "model"), data.held_out)
    assert summaries["sft"]["result"]["saved"]["valid_loss"] == pytest.approx(expected, rel=1e-6)
    assert mean_loss(load_causal_lm(sft / "adapter"), data.held_out) == pytest.approx(expected, rel=1e-5)
    assert expected < mean_loss(load_causal_lm(here / "base"), data.held_out)
    for name in ("model", "adapter"):
        judge = RewardModel.load(reward / name).eval()
        scores = [score for tree in score_trees(judge, demonstration_trees(data.train)) for score in tree]
        assert np.mean(scores) == pytest.approx(0, abs=1e-4)
        assert float(judge.bias) == pytest.approx(summaries["reward"]["result"]["bias_that_centres_demonstrations"])

    first = summaries["ppo"]["result"]["first"]
    assert first["kl"] == 0  # the reference is the fine-tuned model, not the base
    one, other = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (sft, ppo))
    assert one.keys() == other.keys() and any(not torch.equal(one[key], other[key]) for key in one)


def test_an_adapter_learns_at_ten_times_the_rate_unless_it_is_set(here: Path, tmp_path: Path, capsys) -> None:
    options = ["--data", here / "demos.jsonl", "--epochs", "1"]
    for given, rate in (([], 1e-2), (["--learning-rate", "1e-4"], 1e-4)):
        assert train("sft", here, tmp_path / str(rate), *options, "--lora", *given) == 0
        summary = json.loads((tmp_path / str(rate) / "summary.json").read_text())
        assert summary["config"]["learning_rate"] == pytest.approx(rate)
    assert callable(command_for(["rlhf", "--lora"]))
    assert for_adapter(SFTConfig()).learning_rate == pytest.approx(10 * SFTConfig().learning_rate)
    assert for_adapter(PPOConfig()).value_learning_rate == pytest.approx(10 * PPOConfig().value_learning_rate)


def test_a_mixture_of_tasks_is_a_baseline_of_the_evaluation(here: Path, tmp_path: Path, capsys) -> None:
    rows = [{"inputs": f"{n} odd?", "targets": "yes", "task": "large"} for n in range(30)]
    rows += [{"inputs": f"is {n} small?", "targets": "no", "task": "small"} for n in range(4)]
    (tmp_path / "mixture.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ["--data", tmp_path / "mixture.jsonl", "--held-out", "0", "--per-task", "6", "--epochs", "2"]
    assert train("sft", here, tmp_path / "sft", *options, "--demonstrations-per-batch", "5") == 0
    assert "tasks 2" in capsys.readouterr().err
    assert json.loads((tmp_path / "sft" / "summary.json").read_text())["result"]["steps"] == 2 * 2  # 6 + 4 an epoch
    line_up = [f'[{name}]\nmodel = "{model}"\nmax_tokens = 4\n' for name, model in
               (("base", here / "base"), ("mixture", tmp_path / "sft" / "model"))]  # fmt: skip
    (tmp_path / "line-up.toml").write_text("\n".join(line_up), encoding="utf-8")
    words = ["evaluate", "sample", here / "prompts.jsonl", "--systems", tmp_path / "line-up.toml", "--limit", "3"]
    assert main([*map(str, words), "--out", str(tmp_path / "answers")]) == 0
    authors = Counter(item.author for item in read_jsonl(tmp_path / "answers" / "answers.jsonl", Demonstration))
    assert authors == {"base": 3, "mixture": 3}


def test_answers_to_be_ranked_are_on_the_side_of_their_prompts_owners(
    here: Path, rewarded: Path, tmp_path: Path
) -> None:
    """So that no reward model is measured on prompts that one of another round was trained on; some are held out."""
    asked = (Prompt(prompt=f"is {n} odd?", origin=Origin(group=f"tree {n // 4}")) for n in range(40))
    write_jsonl(tmp_path / "prompts.jsonl", asked)
    texts = TextConfig(max_prompt=60, max_answer=12, held_out=0.3)
    base = open_base(str(here / "base"), texts, Setup())
    known = prompts([str(tmp_path / "prompts.jsonl")], base.chat, texts)
    loop, report = LoopConfig(prompts_to_rank=40, answers=2), SimpleNamespace(say=print)
    actual = _rank_answers(base, known, loop, texts, tmp_path, 1, GoldLabeler(rewarded / "model"), report)
    trained, held_out = ({item.prompt for item in part} for part in (actual.train, actual.held_out))
    assert trained and trained <= {item.tokens for item in known.train}
    assert held_out and held_out <= {item.tokens for item in known.held_out}


def test_a_prompt_trained_on_in_one_round_is_not_held_out_in_another() -> None:
    one, other = (RankedPrompt((1, 5, n), ((7, 2), (8, 2)), (1.0, 2.0)) for n in (6, 7))
    first, second = Gathered("rankings", train=[one]), Gathered("rankings", train=[one], held_out=[one, other])
    both = _join(first, second)
    assert (both.train, both.held_out) == ([one, one], [other])
    assert both.dropped == {"held-out prompt that is trained on too": 1}


def loop(here: Path, out: Path, *more: object) -> int:
    options = ["--demonstrations", here / "demos.jsonl", "--prompts", here / "prompts.jsonl", "--prompts-to-rank", "6"]
    sizes = [f"--ppo.{word[2:]}" if word.startswith("--") else word for word in PPO]
    return train("rlhf", here, out, *options, *sizes, "--sft.epochs", "1", "--reward.epochs", "1", *more)


@pytest.mark.slow
def test_the_loop_with_a_simulated_labeler(here: Path, rewarded: Path, tmp_path: Path) -> None:
    out = tmp_path / "rlhf"
    options = ["--rankings", here / "rankings.jsonl", "--gold", rewarded / "model"]
    assert loop(here, out, *options) == 0
    assert loop(here, out, *options, "--rounds", "2") == 0  # goes on where it was
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rankings_by"] == ["as given", f"simulated: gold reward model {rewarded / 'model'}"]
    assert set(summary["gold_score_on_held_out_prompts"]) == {"sft", "round-1", "round-2"}
    made = list(read_jsonl(out / "round-2" / "rankings.jsonl", Ranking))
    assert 1 <= len(made) <= 6 and all("simulated" in item.labeler for item in made)
    assert all(item.authors == (str(out / "round-1" / "ppo" / "model"),) * len(item.candidates) for item in made)
    assert all(
        (item.scores[i] > item.scores[j]) == (item.ranks[i] < item.ranks[j])
        for item in made
        for i in range(len(item.ranks))
        for j in range(len(item.ranks))
    )
    kept = [
        json.loads((out / f"round-{n}" / "reward" / "summary.json").read_text())["data"]["rankings"] for n in (1, 2)
    ]
    assert kept[1]["trained"] + kept[1]["held_out"] == kept[0]["trained"] + kept[0]["held_out"] + len(made)


@pytest.mark.slow
def test_the_loop_waits_for_people_where_nobody_ranks(here: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "rlhf"
    assert loop(here, out) == 0
    answers = out / "round-1" / "answers.jsonl"
    assert capsys.readouterr().out.endswith(f"rankings of {answers}\n")
    unranked = list(read_jsonl(answers, Ranking))
    assert unranked and all(set(item.ranks) == {1} for item in unranked)
    ranked = [
        item.model_copy(update={"ranks": tuple(range(1, len(item.ranks) + 1)), "labeler": "me"}) for item in unranked
    ]
    write_jsonl(tmp_path / "mine.jsonl", ranked)
    assert loop(here, out, "--rankings", tmp_path / "mine.jsonl") == 0
    assert "The model is " in capsys.readouterr().out
    # Random weights write much that is more tokens when it is read again: nothing of it is lost.
    read = json.loads((out / "round-1" / "reward" / "summary.json").read_text())["data"]["rankings"]
    assert read["trained"] + read["held_out"] == len(unranked) and not read["left_out"]


def from_server(monkeypatch, **switches: object) -> Reloading:
    """Put a server in the place of any that is named."""
    server = Reloading(**switches)
    monkeypatch.setattr("momus.train.rollout_server.Server", lambda url, model: server.server(model or "tiny"))
    return server


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_ppo_learns_the_same_from_a_server_as_from_its_own_engine(
    here: Path, rewarded: Path, tmp_path: Path, monkeypatch, kind: str
) -> None:
    """Both take the likeliest tokens, so that they draw the same; whatever is learnt is computed here."""

    class Greedy(LocalEngine):
        def sample(self, *arguments, **options):
            return super().sample(*arguments, **{**options, "temperature": 0})

    monkeypatch.setattr("momus.train.stages.LocalEngine", Greedy)
    rate = ["--policy-learning-rate", "3e-3", "--warmup-iterations", "0"]
    options = ["--data", here / "prompts.jsonl", "--reward", rewarded / "model", *PPO, *rate]
    assert train("ppo", here, tmp_path / "local", *options) == 0
    assert train("ppo", here, tmp_path / "local", *options, "--max-answer", "10") == 2  # would be other responses
    server, out = from_server(monkeypatch, greedy=True), tmp_path / "remote"
    assert train("ppo", here, out, *options, "--rollouts", URL, "--rollouts.kind", kind) == 0
    local, remote = metrics(tmp_path / "local"), metrics(out)
    assert all(line["sampler_gap"] < 1e-4 for line in remote)
    assert remote[-1]["kl"] != 0 and local[-1]["policy_loss"] != 0
    for one, other in zip(local, remote, strict=True):
        assert one.keys() == other.keys()
        assert {k: v for k, v in one.items() if k != "sampler_gap"} == pytest.approx(
            {k: v for k, v in other.items() if k != "sampler_gap"}, rel=1e-5, abs=1e-7
        )
    assert len(server.calls) == 2 * (1 + (kind == "vllm"))
    assert [folder.name[: len("iteration-1-")] for folder in (out / "weights").iterdir()] == ["iteration-1-"]
    # Done is done, also where the server has gone.
    monkeypatch.setattr("momus.train.rollout_server.Server", None)
    assert train("ppo", here, out, *options, "--rollouts", URL, "--rollouts.kind", kind) == 0


def test_a_server_that_keeps_old_weights_is_refused_before_they_are_learnt_from(
    here: Path, rewarded: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    from_server(monkeypatch, deaf=True)
    rate = ["--policy-learning-rate", "3e-3", "--warmup-iterations", "0", "--rollouts", URL]
    options = ["--data", here / "prompts.jsonl", "--reward", rewarded / "model", *PPO, *rate]
    refused(capsys, train("ppo", here, tmp_path / "ppo", *options), URL, "does not draw from the policy", "old weights")
    assert len(metrics(tmp_path / "ppo")) == 1  # the first batch was of the policy as it began
    assert json.loads((tmp_path / "ppo" / "first-gap" / "value.json").read_text()) < 1e-4  # is there when it goes on


def test_where_no_server_is_what_to_start_one_with_is_written(
    here: Path, rewarded: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("momus.train.rollout_server.Server", lambda url, model: Server(url, model, retries=0))
    nowhere = ["--rollouts", "http://127.0.0.1:9/v1", "--rollouts.weights", tmp_path / "shared"]
    options = ["--data", here / "prompts.jsonl", "--reward", rewarded / "model", *PPO, *nowhere]
    refused(capsys, train("ppo", here, tmp_path / "ppo", *options), "cannot reach", f"vllm serve {tmp_path / 'shared'}")
    assert not (tmp_path / "ppo").exists()
    (start,) = (tmp_path / "shared").iterdir()
    assert AutoModelForCausalLM.from_pretrained(start) and AutoTokenizer.from_pretrained(start).chat_template
    written = (start / "model.safetensors").stat().st_ino
    options += ["--rollouts.kind", "sglang"]
    refused(capsys, train("ppo", here, tmp_path / "ppo", *options), "launch_server", str(start))
    assert (start / "model.safetensors").stat().st_ino == written, "a server that is starting may be reading it"


def refused(capsys, code: int, *words: str) -> None:
    printed = capsys.readouterr()
    assert code == 2 and printed.out == ""
    last = printed.err.splitlines()[-1]
    assert last.startswith("momus: error: ") and all(word in last for word in words), printed.err


def test_mistakes_are_one_line_and_leave_nothing(here: Path, rewarded: Path, tmp_path: Path, capsys) -> None:
    out, demos = tmp_path / "out", here / "demos.jsonl"
    refused(capsys, train("sft", here, out, "--data", demos, model=tmp_path / "none"), "none")
    refused(capsys, train("sft", here, out, "--data", tmp_path / "none.jsonl"), "none.jsonl: no such file")
    refused(capsys, train("sft", here, out, "--data", here / "prompts.jsonl"), "no demonstrations", "40 records of")
    refused(capsys, train("sft", here, out, "--data", demos, "--max-prompt", "9999"), "are more than the 512", "lower")
    refused(capsys, train("sft", here, out, "--data", demos, "--max-prompt", "9"), "prompt over 9 tokens")
    refused(capsys, train("sft", here, out, "--data", demos, "--pretraining-share", "0.1"), "--pretraining")
    refused(capsys, train("sft", here, out, "--data", demos, "--pretraining", here / "text.txt"), "--pretraining-share")
    refused(capsys, train("sft", here, out, "--data", demos, "--epochs", "0"), "epochs")
    refused(capsys, train("sft", here, out, "--data", demos, "--lora.rank", "2"), "--lora with it")
    refused(capsys, train("sft", here, out, "--data", demos, "--chat-template", tmp_path / "no.jinja"), "no.jinja")
    (tmp_path / "bad.jinja").write_text("{% for m in messages %}", encoding="utf-8")
    refused(
        capsys, train("sft", here, out, "--data", demos, "--chat-template", tmp_path / "bad.jinja"), "cannot be used"
    )
    refused(capsys, train("sft", here, out, "--data", demos, "--pad-token", "nope"), "--pad-token 'nope'")
    refused(capsys, train("sft", here, demos, "--data", demos), "is a file")
    refused(capsys, train("ppo", here, out, "--data", here / "prompts.jsonl", "--reward", here / "base"), "reward_head")
    refused(capsys, loop(here, out, "--rankings", here / "rankings.jsonl", here / "rankings.jsonl"), "--rounds 1")
    other = here / "other"
    tokenizer = AutoTokenizer.from_pretrained(here / "base")
    tokenizer.add_tokens(["another"])
    larger = tiny_model()
    larger.resize_token_embeddings(len(tokenizer))
    save_causal_lm(larger, other, tokenizer)
    options = ["--data", here / "prompts.jsonl", "--reward", rewarded / "model"]
    refused(capsys, train("ppo", here, out, *options, model=other), "reads other tokens")
    refused(capsys, train("ppo", here, out, *options, "--rollouts.kind", "sglang"), "--rollouts URL")
    texts = ["--pretraining", here / "text.txt"]
    refused(capsys, train("ppo", here, out, *options, *texts), "--ptx-coefficient, or leave them out")
    assert not out.exists()


def test_a_tokenizer_may_pad_with_its_end_and_another_token_that_is_named_reaches_the_model(
    here: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(here / "base")
    tokenizer.pad_token = tokenizer.eos_token
    save_causal_lm(tiny_model(), tmp_path / "base", tokenizer)
    options = ["--data", here / "demos.jsonl", "--epochs", "1"]
    end, pad = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|pad|>")
    for name, named, expected in (("sft", [], end), ("padded", ["--pad-token", "<|pad|>"], pad)):
        base = open_base(str(tmp_path / "base"), TextConfig(60, 12), Setup(), pad_token=named[-1] if named else None)
        assert base.load().get_input_embeddings().padding_idx == (pad if named else None)
        for adapted in ([], ["--lora"]):
            out = tmp_path / f"{name}{len(adapted)}"
            assert train("sft", here, out, *options, *named, *adapted, model=tmp_path / "base") == 0
            saved = AutoModelForCausalLM.from_pretrained(out / "model")
            assert AutoTokenizer.from_pretrained(out / "model").pad_token_id == expected
            assert saved.config.pad_token_id == saved.generation_config.pad_token_id == expected


@pytest.mark.parametrize("adapted", [[], ["--lora"]], ids=["whole", "adapter"])
@pytest.mark.parametrize(
    "settings", [{"temperature": 0.9, "do_sample": False}, {"temperature": -3}, {"pad_token_id": -1}]
)
def test_settings_of_generation_that_cannot_be_written_do_not_lose_the_training(
    here: Path, tmp_path: Path, capsys, settings, adapted
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(here / "base")
    tokenizer.pad_token = None
    save_causal_lm(tiny_model(), tmp_path / "base", tokenizer)
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [2, 5]}))
    options = ["--data", here / "demos.jsonl", "--epochs", "1", *adapted]
    assert train("sft", here, tmp_path / "out", *options, model=tmp_path / "base") == 0
    assert "generation_config.json only the tokens are kept, for the rest cannot be written" in capsys.readouterr().err
    saved = json.loads((tmp_path / "out" / "model" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [2, 5] and "temperature" not in saved


def test_every_turn_is_refused_where_it_changes_nothing(here: Path, tmp_path: Path, capsys) -> None:
    options = ["--data", here / "demos.jsonl", "--every-turn"]
    refused(capsys, train("sft", here, tmp_path / "out", *options), "--every-turn changes nothing", "leave it out")
    assert not (tmp_path / "out").exists()


def test_an_interval_of_one_held_out_prompt_is_not_determined(here: Path, rewarded: Path, tmp_path: Path) -> None:
    asked = (Prompt(prompt=f"is {n} odd?", split="train" if n else "valid") for n in range(9))
    write_jsonl(tmp_path / "prompts.jsonl", asked)
    options = ["--data", tmp_path / "prompts.jsonl", "--reward", rewarded / "model", "--held-out", "0", *PPO]
    assert train("ppo", here, tmp_path / "ppo", *options) == 0
    scores = json.loads((tmp_path / "ppo" / "summary.json").read_text())["result"]["held_out_score"]
    for score in scores.values():
        assert score["value"] is not None and score["low"] is None and score["high"] is None


@pytest.mark.parametrize(("step", "config"), [("sft", SFTConfig), ("reward", RewardConfig), ("ppo", PPOConfig)])
def test_every_setting_is_a_flag_and_its_docstring_the_help(step, config, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", step, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    named = {item.name: "no-" if item.default is True else "" for item in dataclasses.fields(config)}
    flags = [f"--{no}{name.replace('_', '-')}" for name, no in named.items()]
    assert flags and all(flag in shown for flag in flags)
    assert "Clip" in shown and "Adam's moments (C)." in shown


def test_a_preset_is_where_the_other_settings_start_from(capsys) -> None:
    def default(flag: str, *words: str) -> str:
        with pytest.raises(SystemExit):
            main(["train", *words, "--help"])
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        return shown.partition(f"{flag} ")[2].partition("(default: ")[2].partition(")")[0]

    assert default("--epochs", "sft") == "16"
    assert default("--epochs", "sft", "--preset", "before-ppo") == "2"
    assert default("--epochs", "sft", "--preset", "mixture") == "1"
    assert default("--per-task", "sft", "--preset", "mixture") == "3000"
    assert default("--epochs", "sft", "--preset=tiny") == str(SFTConfig.tiny().epochs)
    assert default("--ppo.ptx-coefficient", "rlhf") == "27.8"
    assert default("--sft.pretraining-share", "rlhf") == "0.1"
    for wrong in (["--preset"], ["--preset", "huge"]):
        with pytest.raises(SystemExit, match="2"):
            main(["train", "sft", *wrong])
        assert "--preset" in capsys.readouterr().err


def test_interrupted_and_run_again_it_ends_the_same(here: Path, tmp_path: Path) -> None:
    options = ["--data", here / "demos.jsonl", "--epochs", "6", "--save-every", "1", "--dropout", "0.1"]
    assert train("sft", here, tmp_path / "whole", *options) == 0
    words = ["train", "sft", "--preset", "tiny", "--model", here / "base", "--out", tmp_path / "cut", *SHORT, *options]
    process = forked.start(main, [*map(str, words)], stderr=tmp_path / "said")
    while not list((tmp_path / "cut").glob("checkpoint-*")) and process.is_alive():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert forked.finish(process) == 130
    assert (tmp_path / "said").read_text().splitlines()[-1] == "momus: interrupted"
    assert not (tmp_path / "cut" / "summary.json").exists()
    assert train("sft", here, tmp_path / "cut", *options) == 0
    files = ["model/model.safetensors", "metrics.jsonl"]
    same = [(tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in files]
    assert same == [True, True]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError("[enforce fail] can't allocate memory")]
)
def test_memory_that_runs_out_is_one_line_and_less_of_it_goes_on(
    here: Path, tmp_path: Path, monkeypatch, capsys, error: Exception
) -> None:
    options = ["--data", here / "demos.jsonl", "--epochs", "1", "--save-every", "1"]
    step, done = sft._step, []

    def scarce(*arguments: object) -> dict[str, float]:
        if len(done) == 2:
            raise error
        done.append(step(*arguments))
        return done[-1]

    with monkeypatch.context() as small:
        small.setattr(sft, "_step", scarce)
        assert train("sft", here, tmp_path, *options) == 2
    (printed,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("momus:")]
    assert "out of memory" in printed
    assert all(option in printed for option in ("--token-budget", "--gradient-checkpointing", "--precision bf16"))
    less = ["--token-budget", "300", "--gradient-checkpointing", "--save-every", "5"]
    assert train("sft", here, tmp_path, *options[:-2], *less) == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["loss"] for row in rows[:2]] == [item["loss"] for item in done]


def test_the_loop_continues_one_adapter_over_the_published_base(here: Path, rewarded: Path, tmp_path: Path) -> None:
    adapted = ["--lora", "--lora.rank", "2", "--precision", "bf16"]
    assert loop(here, tmp_path, "--gold", rewarded / "model", *adapted) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    last = Path(summary["model"]).parent
    assert last.name == "ppo" and summary["gold_score_on_held_out_prompts"]
    for folder in (tmp_path / "sft", last.parent / "reward", last):
        stored = json.loads((folder / "adapter" / "adapter_config.json").read_text())
        assert stored["base_model_name_or_path"] == str(here / "base")
