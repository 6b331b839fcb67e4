"""A reward model of critiques that knows from the critic's pointer what the lines quoted are worth.

A reward model of the embedded critic's size cannot tell a right comment from a wrong one; the pointer (`pointer.py`),
which read the answer both ways, can, to some degree. So the score of a critique is

    head(last state) + worth[0] * expected bugs quoted + worth[1] * comments

where a comment is right with the probability that the pointer gives the likeliest line it is the first to quote. The
two worths are learned from the same rankings (`train/worth.py`). They belong to a whole critique: a value model that
PPO starts from a reward model leaves them out.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from momus.critique import FENCE, lines_of, parse_critique
from momus.errors import UserError
from momus.lm.codec import read_tokenizer
from momus.lm.constraint import Vocabulary
from momus.lm.models import POINTED, RewardModel, reward_kind
from momus.lm.pointers.pointer import Pointer, PointerNetwork
from momus.lm.prompts import POINTER_FILE
from momus.lm.tree import Tokens, TokenTree

REMEMBERED = 1000


class PointerRewardModel(RewardModel):
    """A reward model with a pointer, which is not trained with it, and the two worths: a buffer, float32 [2].

    Args:
        backbone: See `RewardModel`.
        pointer: The network of the critic's pointer.
        tokenizer: The critic's.
    """

    kind = POINTED
    worth: torch.Tensor

    def __init__(self, backbone: nn.Module, pointer: PointerNetwork, tokenizer: Any) -> None:
        super().__init__(backbone)
        self.register_buffer("worth", torch.zeros(2))
        self._tokenizer, self._vocabulary = tokenizer, Vocabulary.from_tokenizer(tokenizer)
        self._pointer = Pointer(pointer, self._vocabulary)
        self._known: dict[Tokens, tuple[str, tuple[float, ...]]] = {}

    @classmethod
    def from_critic(cls, critic: Any, pointer: PointerNetwork, tokenizer: Any) -> PointerRewardModel:
        """Take a copy of a critic's backbone and put a head of zeros on it: it starts as what the pointer says."""
        model = cls(copy.deepcopy(critic.base_model), pointer, tokenizer)
        nn.init.zeros_(model.head.weight)
        return model.to(critic.device)

    def _apply(self, fn: Any, recurse: bool = True) -> PointerRewardModel:
        """Cast or move as ever, but keep `worth` in float32, as `bias`."""
        exact = self.worth
        super()._apply(fn, recurse)
        if not exact.is_meta:
            self.worth = exact.to(self.worth.device)
        return self

    def check_tokens(self, tokenizer: Any) -> None:
        """Refuse to score what another tokenizer wrote.

        Raises:
            UserError: The tokenizer is not the critic's.
        """
        if tokenizer.get_vocab() != self._tokenizer.get_vocab():
            raise UserError("this reward model reads the pointer of a critic with other tokens: use it with that one")

    def added(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        """Return what the pointer's part adds to the branches' scores: [number of branches]."""
        counts = np.concatenate(self.expected_counts(trees))
        return torch.from_numpy(counts).to(self.worth) @ self.worth

    def expected_counts(self, trees: Sequence[TokenTree]) -> list[npt.NDArray[np.float64]]:
        """Return for every tree's branches the expected number of bugs quoted and that of comments: [branches, 2].

        Raises:
            UserError: What a branch continues is no critique prompt.
        """
        prompts = [[_prompt(tree, branch) for branch in tree.branches] for tree in trees]
        self._read_prompts({prompt for branches in prompts for prompt in branches})
        return [
            np.array(
                [
                    self._count(*self._known[prompt], self._text(tree.tokens[branch].tolist()))
                    for prompt, branch in zip(branches, tree.branches, strict=True)
                ]
            )
            for tree, branches in zip(trees, prompts, strict=True)
        ]

    def _count(self, answer: str, chances: Sequence[float], critique: str) -> tuple[float, float]:
        quoted, right = set[int](), 0.0
        comments = parse_critique(critique, answer).comments
        for comment in comments:
            lines = set(lines_of(comment.span, answer) if comment.span else ()) - quoted
            quoted |= lines
            right += max((chances[line] for line in lines), default=0.0)
        return right, float(len(comments))

    def _read_prompts(self, prompts: set[Tokens]) -> None:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        self._pointer.network.to(self.worth.device)
        for prompt in prompts - self._known.keys():
            answer = _answer(self._text(prompt))
            (odds,) = self._pointer.line_log_odds([prompt], [answer])  # alone: neighbours would change the last bits
            self._known[prompt] = answer, tuple(torch.tensor(odds).sigmoid().tolist())

    def _text(self, tokens: Sequence[int]) -> str:
        pieces = self._vocabulary.pieces
        return b"".join(pieces[token] or b"" for token in tokens).decode(errors="replace")

    def _write(self, folder: Path, state: Any) -> None:
        super()._write(folder, state)
        self._pointer.network.save(folder)
        self._tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, path: Path) -> PointerRewardModel:
        """Read what `save` wrote.

        Raises:
            UserError: It cannot be read.
        """
        pointer = PointerNetwork.load(path / POINTER_FILE)
        tokenizer = read_tokenizer(str(path))
        return cls._read(path, lambda backbone: cls(backbone, pointer, tokenizer))


def load_reward(path: str | Path) -> RewardModel:
    """Load a reward model, with a critic's pointer or without.

    Args:
        path: Its folder.

    Raises:
        UserError: The directory does not hold a reward model.
    """
    folder = Path(path)
    return PointerRewardModel.load(folder) if reward_kind(folder) == POINTED else RewardModel.load(folder)


def _prompt(tree: TokenTree, branch: npt.NDArray[np.int64]) -> Tokens:
    """Return the tokens above a branch, from its root down."""
    above, node = [], int(tree.parent[branch[0]])
    while node >= 0:
        above.append(int(tree.tokens[node]))
        node = int(tree.parent[node])
    return tuple(above[::-1])


def _answer(prompt: str) -> str:
    """Return the answer that a critique prompt shows: what stands in its last Python fence (`prompts.py`)."""
    opening, closing = f"{FENCE}python\n", f"\n{FENCE}\n"
    start = prompt.rfind(opening)
    if start < 0 or not prompt.endswith(closing):
        raise UserError("a reward model with a pointer scores critiques of answers, and this is none")
    return prompt[start + len(opening) : -len(closing)]
