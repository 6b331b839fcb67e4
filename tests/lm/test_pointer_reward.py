"""A reward model with a pointer: what it counts, that this adds to the score, what it learns, that it stays."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from momus.errors import UserError
from momus.lm.codec import Codec
from momus.lm.constraint import Vocabulary
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel
from momus.lm.pointers.pointer import Pointer, PointerNetwork
from momus.lm.pointers.reward import PointerRewardModel, load_reward
from momus.lm.prompts import critique_prompt
from momus.lm.tiny import TINY
from momus.lm.tree import TokenTree
from momus.search.result import RewardSource
from momus.search.reward import load_reward_function, reward_function
from momus.search.reward_export import export_classifier
from momus.train.reward import RankedPrompt
from momus.train.worth import learn_worth
from support.tiny import gpt2, llama, tiny_tokenizer

ANSWER = "def f(items):\n    total = 0\n\n    for x in items:\n        total -= x\n    return total"
LINES = ANSWER.split("\n")
TOKENIZER = tiny_tokenizer()


def encode(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text, add_special_tokens=False))


def prompt(answer: str = ANSWER) -> tuple[int, ...]:
    return (TOKENIZER.bos_token_id, *encode(critique_prompt("Adds up.", answer)))


def quote(*lines: str) -> str:
    return "\n\n".join(f"```\n{line}\n```\nWrong." for line in lines) or "No problems found."


def critique(*lines: str) -> tuple[int, ...]:
    return (*encode(quote(*lines)), TOKENIZER.eos_token_id)


def model(worth: tuple[float, float] = (2.0, -0.5)) -> PointerRewardModel:
    critic = llama(vocab=len(TOKENIZER))
    torch.manual_seed(1)
    network = PointerNetwork.from_model(critic, 1, layers=1, heads=2, inner=32).eval()
    torch.nn.init.normal_(network.score.weight, std=1.0)
    made = PointerRewardModel.from_critic(critic, network, TOKENIZER).eval()
    made.worth.copy_(torch.tensor(worth))
    return made


def chances(reward: PointerRewardModel) -> list[float]:
    """What the pointer gives each line, asked directly."""
    pointer = Pointer(reward._pointer.network, Vocabulary.from_tokenizer(TOKENIZER))
    return torch.tensor(pointer.line_log_odds([prompt()], [ANSWER])[0]).sigmoid().tolist()


def test_it_counts_expected_bugs_and_comments() -> None:
    reward = model()
    p = chances(reward)
    assert max(p) - min(p) > 0.02
    critiques = [
        critique(),
        critique(LINES[1]),
        critique(LINES[3], LINES[4]),
        critique(LINES[1], LINES[1]),  # said again: no second bug
        critique("nowhere in it"),
        critique("\n".join(LINES[3:5])),  # two lines: the likelier
    ]
    (counts,) = reward.expected_counts([TokenTree.from_branches(prompt(), critiques)])
    expected = [(0, 0), (p[1], 1), (p[3] + p[4], 2), (p[1], 2), (0, 1), (max(p[3:5]), 1)]
    assert counts == pytest.approx(np.array(expected), abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.booleans())
def test_neither_order_nor_merging_nor_neighbours_change_the_score(order: list[int], merged: bool) -> None:
    reward = model()
    torch.nn.init.normal_(reward.head.weight, std=0.3)
    critiques = [critique(), critique(LINES[1]), critique(LINES[1], LINES[4]), critique(LINES[5]), critique("x")]
    alone = [score_trees(reward, [TokenTree.from_branches(prompt(), [c])])[0][0] for c in critiques]
    shuffled = [critiques[i] for i in order]
    other = prompt("x = 1\ny = 2")
    if merged:
        found = reward_function(reward)([other, prompt()], [[critique("x = 1")], shuffled])[1]
    else:
        trees = [TokenTree.from_branches(other, [critique("x = 1")]), TokenTree.from_branches(prompt(), shuffled)]
        found = score_trees(reward, trees)[1]
    assert found == pytest.approx([alone[i] for i in order], abs=1e-4)


def test_what_the_pointer_adds_comes_on_top_of_a_plain_reward_models_score() -> None:
    reward = model()
    torch.nn.init.normal_(reward.head.weight, std=0.3)
    plain = RewardModel(reward.backbone)
    plain.head.weight.data.copy_(reward.head.weight)
    trees = [TokenTree.from_branches(prompt(), [critique(LINES[1]), critique()])]
    p = chances(reward)
    (with_pointer,), (without,) = score_trees(reward, trees), score_trees(plain.eval(), trees)
    assert with_pointer == pytest.approx([without[0] + 2.0 * p[1] - 0.5, without[1]], abs=1e-4)
    assert set(dict(reward.named_parameters())) == set(dict(plain.named_parameters())), "the pointer is not trained"


def test_an_empty_answer_and_one_with_fences_are_read_from_the_prompt() -> None:
    reward = model()
    for answer in ("", "a = '''\n```\n'''", "x\n"):
        (counts,) = reward.expected_counts([TokenTree.from_branches(prompt(answer), [critique()])])
        assert counts.tolist() == [[0.0, 0.0]]
        assert reward._known[prompt(answer)][0] == answer
    asked = (TOKENIZER.bos_token_id, *encode(critique_prompt("Mend\n```python\nx = 2\n```\nplease.", ANSWER)))
    reward.expected_counts([TokenTree.from_branches(asked, [critique()])])
    assert reward._known[asked][0] == ANSWER, "a question may hold code too"
    with pytest.raises(UserError, match="this is none"):
        reward.expected_counts([TokenTree.from_branches(encode("Hello"), [critique()])])


def rankings(reward: PointerRewardModel, worth: tuple[float, float], count: int) -> list[RankedPrompt]:
    """Rankings by labelers who go by expected bugs and comments at known worths, with the noise of equation 1."""
    rng = random.Random(0)
    quotable = [i for i, line in enumerate(LINES) if line.strip()]
    made = []
    for number in range(count):
        critiques = tuple(critique(*(LINES[i] for i in rng.sample(quotable, k))) for k in (0, 1, 2, 3))
        at = (*prompt(), number % len(TOKENIZER))  # hardly the same prompt twice
        (counts,) = reward.expected_counts([TokenTree.from_branches(prompt(), critiques)])
        noisy = counts @ np.array(worth) + np.array([-np.log(-np.log(rng.random())) for _ in critiques])
        made.append(RankedPrompt(at, critiques, tuple((-noisy).argsort().argsort().tolist())))
    return made


def test_it_learns_what_the_pointers_word_is_worth(monkeypatch) -> None:
    """Worths come back within their sampling error, and brute force finds no lower loss around them."""
    reward = model((0.0, 0.0))
    drawn = rankings(reward, (3.0, -1.0), 300)
    real = reward.expected_counts
    monkeypatch.setattr(
        reward,
        "expected_counts",
        lambda trees: real([TokenTree.from_branches(prompt(), _branches(tree)) for tree in trees]),
    )
    right, comment = learn_worth(reward, drawn)
    assert (right, comment) == pytest.approx(reward.worth.tolist(), abs=1e-5)
    assert comment == pytest.approx(-1.0, abs=0.5) and right == pytest.approx(3.0, abs=1.2)

    counts = [real([TokenTree.from_branches(prompt(), ranking.branches)])[0] for ranking in drawn]

    def loss(worth: tuple[float, float]) -> float:
        total = 0.0
        for ranking, counted in zip(drawn, counts, strict=True):
            scores = counted @ np.array(worth)
            total += np.mean([np.log1p(np.exp(scores[b] - scores[a])) for a, b in ranking.pairs()])
        return total / len(drawn) + 0.5e-3 * float(np.square(worth).sum())

    best = loss((right, comment))
    for step in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.1), (0.0, -0.1)):
        assert loss((right + step[0], comment + step[1])) > best


def _branches(tree: TokenTree) -> list[list[int]]:
    return [tree.tokens[branch].tolist() for branch in tree.branches]


def test_without_a_preference_there_is_nothing_to_learn() -> None:
    tied = RankedPrompt(prompt(), (critique(), critique(LINES[1])), (1.0, 1.0))
    with pytest.raises(UserError, match="nothing to learn"):
        learn_worth(model(), [tied])


def test_it_is_saved_whole_and_read_only_by_what_can_use_it(tmp_path) -> None:
    reward = model()
    torch.nn.init.normal_(reward.head.weight, std=0.3)
    reward.save(tmp_path / "reward")
    trees = [TokenTree.from_branches(prompt(), [critique(LINES[1]), critique(), critique(LINES[4], LINES[5])])]
    again = load_reward(tmp_path / "reward")
    assert isinstance(again, PointerRewardModel)
    assert score_trees(again, trees)[0] == pytest.approx(score_trees(reward, trees)[0], abs=0.05)  # half precision
    with pytest.raises(UserError, match="reads a critic's pointer"):
        RewardModel.load(tmp_path / "reward")
    RewardModel(reward.backbone).save(tmp_path / "plain")
    assert type(load_reward(tmp_path / "plain")) is RewardModel
    (tmp_path / "reward" / "pointer.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot load the pointer"):
        load_reward(tmp_path / "reward")


def test_what_a_prompt_is_worth_does_not_depend_on_what_was_asked_before(monkeypatch) -> None:
    """To the last bit: a run that was interrupted starts without anything known."""
    prompts = [prompt("\n".join(LINES[:size])) for size in range(1, 7)]
    trees = [TokenTree.from_branches(reward, [critique(LINES[0])]) for reward in prompts]
    reward = model()
    together = [counts.tolist() for counts in reward.expected_counts(trees)]
    monkeypatch.setattr("momus.lm.pointers.reward.REMEMBERED", 2)
    fresh = model()
    assert [fresh.expected_counts([tree])[0].tolist() for tree in trees] == together


def test_worths_stay_exact_in_half_precision() -> None:
    reward = model((1 / 3, -1 / 7)).to(torch.bfloat16)
    assert reward.worth.dtype == torch.float32 and reward.worth.tolist() == pytest.approx([1 / 3, -1 / 7], abs=1e-7)
    assert reward.head.weight.dtype == torch.bfloat16
    assert reward.added([TokenTree.from_branches(prompt(), [critique(LINES[1])])]).dtype == torch.float32


def test_who_cannot_use_it_reads_one_line(tmp_path, capsys) -> None:
    reward = model()
    reward.save(tmp_path / "reward")
    with pytest.raises(UserError, match="no form that servers load"):
        export_classifier(reward, TOKENIZER, tmp_path / "exported")
    other = PreTrainedTokenizerFast.from_pretrained(TINY)
    with pytest.raises(UserError, match="other tokens"):
        load_reward_function(RewardSource(tmp_path / "reward"), Codec(other))
    assert load_reward_function(RewardSource(tmp_path / "reward"), Codec(TOKENIZER)) is not None
    (tmp_path / "reward" / "reward_head.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*reward_head\.json"):
        load_reward(tmp_path / "reward")
    with pytest.raises(UserError, match="made over a Llama"):
        PointerNetwork.from_model(gpt2(), 1, layers=1, heads=2, inner=32)
