"""A reward model that learns from other rankings as well: how many are taken, and which share of several is kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.lm.models import RewardModel, fingerprint, save_causal_lm
from momus.records import Ranking, write_jsonl
from momus.train.mixture import mixed
from momus.train.reward import RankedPrompt
from momus.train.texts import Gathered
from support.tiny import tiny_model, tiny_tokenizer


def rankings(count, first, held_out=0):
    made = [RankedPrompt((first, number), ((3,), (4,)), (1.0, 2.0)) for number in range(count + held_out)]
    return Gathered("rankings", train=made[:count], held_out=made[count:])


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 0.9), st.integers(0, 3))
def test_so_many_others_are_taken_that_they_are_that_share(own, known, share, seed):
    data, others = rankings(own, 5, held_out=3), rankings(known, 6, held_out=2)
    wanted = own * share / (1 - share)
    if round(wanted) > known:
        with pytest.raises(UserError, match="at most"):
            mixed(data, others, share, seed)
        return
    made = mixed(data, others, share, seed)
    taken = made.train[own:]
    assert made.train[:own] == data.train and abs(len(taken) - wanted) <= 0.5
    assert len(set(taken)) == len(taken) and set(taken) <= set(others.train)
    assert made.held_out == data.held_out and made.about["mixed_in"] == len(taken)
    assert set(taken) <= set(mixed(data, others, None, seed).train[own:]) == set(others.train)


def test_a_prompt_that_is_mixed_in_is_not_measured_on():
    data, others = rankings(2, 5, held_out=2), rankings(2, 5, held_out=2)
    others.train = data.held_out[:1]
    made = mixed(data, others, None, 0)
    assert made.held_out == data.held_out[1:] and len(data.held_out) == 2
    assert made.dropped.total() == 1 and not data.dropped


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    save_causal_lm(tiny_model(), folder / "base", tiny_tokenizer())
    for name, order in (("own", (1, 2)), ("contrary", (2, 1))):
        rows = [Ranking(prompt=f"{name} {i}?", candidates=("yes", "no"), ranks=order) for i in range(24)]
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


def train(here, out, *more):
    options = ["--preset", "tiny", "--model", here / "base", "--data", here / "own.jsonl", "--out", out]
    options += ["--max-prompt", "60", "--max-answer", "12", "--held-out", "0.4", "--epochs", "6", *more]
    return main([str(word) for word in ("train", "reward", *options)])


def test_the_share_that_is_best_on_held_out_rankings_is_kept(here, tmp_path, capsys):
    mix = ["--mix", here / "contrary.jsonl", "--shares", "0.5", "0", "--learning-rate", "3e-3"]
    assert train(here, tmp_path, *mix, "--lora") == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    by_share = {name: each["value"] for name, each in summary["result"]["held_out_pair_accuracy_by_share"].items()}
    assert list(by_share) == ["0.5", "0"] and by_share["0"] == max(by_share.values())
    kept = f"share-{summary['share_kept']:g}"
    assert by_share[kept.removeprefix("share-")] == max(by_share.values())
    for name in ("model", "adapter"):
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(
            path.name for path in (tmp_path / kept / name).iterdir()
        )
    loaded = [fingerprint(RewardModel.load(folder / "model")) for folder in (tmp_path, tmp_path / kept)]
    assert loaded[0] == loaded[1] and summary["model"] == str(tmp_path / "model")
    assert (
        summary["data"]["rankings"]["mixed_in"]
        == (summary["share_kept"] > 0) * summary["data"]["rankings"]["trained"] / 2
    )
    # Done is done, and another share is one more run.
    before = (tmp_path / kept / "model" / "model.safetensors").stat().st_mtime_ns
    assert train(here, tmp_path, *mix, "--lora") == 0
    assert (tmp_path / kept / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_one_share_and_all_of_the_others_are_one_run(here, tmp_path, capsys):
    assert train(here, tmp_path / "all", "--mix", here / "contrary.jsonl", "--epochs", "1") == 0
    data = json.loads((tmp_path / "all" / "summary.json").read_text())["data"]["rankings"]
    assert data["mixed_in"] and not list((tmp_path / "all").glob("share-*"))
    capsys.readouterr()
    for more, problem in (
        (["--shares", "0.5"], "--shares are of the rankings in --mix"),
        (["--mix", here / "contrary.jsonl", "--shares", "1"], "--shares 1: each must be from 0 to below 1"),
        (["--mix", here / "contrary.jsonl", "--shares", "0.9"], "at most"),
        (["--mix", here / "contrary.jsonl", "--shares", "0", "0.2", "--held-out", "0"], "there are none: --held-out"),
    ):
        assert train(here, tmp_path / "bad", *more) == 2
        assert problem in capsys.readouterr().err.splitlines()[-1]
