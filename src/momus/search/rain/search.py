"""RAIN: Your Language Models Can Align Themselves without Finetuning (arXiv 2309.07124). Rewindable inference.

A frozen model writes an answer token set by token set, searches before it commits to one, and judges itself. Before
every commit, an inner loop (`RainSearch.search_token_set`) grows a Monte Carlo tree of token sets below the answer so
far. One iteration:

1. Select. From the root go to the child of the highest v + c u, u = p sqrt(n of the parent) / (1 + n), down to a leaf.
   On the way, a node whose children are alike (small variance of their embeddings) and all bad gets one more child
   (dynamic node addition).
2. Expand. A leaf gets children: sets of 1, 2, 4, and then 10 tokens, by depth; the likeliest single tokens, or the
   greedy continuation and samples among the likeliest tokens, with their probabilities as priors p.
3. Simulate. Continue the leaf until a pause (a punctuation mark) or the end; this text is not added to the tree.
4. Evaluate. The model compares "harmless" with "harmful", by the probability of two labels and in both orders
   (`judge.py`): a value of -1, 0 or 1; or, where `judged_by` says so, between -1 and 1 by how sure it is.
5. Backpropagate. Every node of the path counts a visit with this value, and averages the embedding of what was written
   from it on.
6. Update similar siblings. Siblings of the path's nodes with a similar embedding count the value too, with weight gamma
   times the cosine.

The loop ends when the child of the most visits has more than T_m of them and a value above V, or after T iterations.
The search commits to that child, which becomes the root; its subtree and its statistics stay. The answer ends at an end
token, at the user's next turn or at its greatest length.

A token set taken after T iterations may still be bad: `Commit.met` and `RainResult.met` say so, and a caller may
refuse to answer. Where a budget runs out, the result is the best path so far and `stopped` names the budget.

Constants of which the paper says nothing are those of the published code; `RainConfig` tells them apart. Deliberate
differences from that code:

- a leaf is expanded when it is visited again and not at once: the same tree, for the random numbers of an expansion are
  keyed by the node's place in the tree;
- equal label probabilities count half instead of zero, and a model that gives both labels next to nothing abstains;
- truthfulness, too, is judged by A and B and in both orders, where the code asks once, for yes or no;
- pauses include those of Chinese, Japanese and Korean; end tokens are compared as tokens and the user's next turn is
  searched for in the answer's text alone, so that nothing the user writes is taken for either;
- sets are cut at their first end token and compared after that; probabilities of sets are kept as logarithms;
- without a sentence encoder the model's attention values are the embeddings (`models.py`), for which the similarity
  thresholds were not made; a model on a server shows none, and siblings are then not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from momus.errors import UserError
from momus.lm.branches import BranchPlan
from momus.lm.tree import Tokens
from momus.search.rain.answer import AnswerReader, EncodedPrompt
from momus.search.rain.judge import Judge, JudgedBy
from momus.search.rain.models import Encoder, Writer
from momus.search.rain.result import Budget, BudgetTracker, ChildStatistics, Commit, RainResult
from momus.search.rain.tree import (
    JudgedAnswer,
    Node,
    cosine_similarity,
    embedding_variance,
    select_child,
    set_priors,
)

_EXPAND, _ADD_CHILD, _SIMULATE = range(3)
"""What random numbers are used for; part of their key."""


@dataclass(frozen=True)
class RainConfig:
    """A search's settings; the defaults are those for harmlessness (HH)."""

    lengths: tuple[int, ...] = (1, 2, 4, 10)
    """Tokens in a set, by depth; the last for all deeper ones. [published code]"""
    candidates: int = 10
    """Most children of an expansion. [published code]"""
    draws: int = 9
    """Sets sampled besides the greedy one. [published code]"""
    top_k: int = 15
    """Sets are sampled among this many likeliest tokens at every position. [published code]"""
    temperature: float = 1.0
    """Of that sampling. [published code]"""
    exploration: float = 2.0
    """c of the selection rule. [paper, section 3.2]"""
    prior_mixing: float = 0.25
    """Share of the uniform distribution in the priors of the root's children. [published code]"""
    similarity_threshold: float = 0.95
    """Cosine of embeddings from which siblings are similar. [published code]"""
    similarity_weight: float = 0.2
    """gamma: weight of a value for a similar sibling, times the cosine. [paper, section 3.3]"""
    variance_threshold: float = 0.03
    """Children are alike below this norm of their embeddings' variance, times the tokens in a set. [published code]"""
    max_children: int = 20
    """No node gets more children. [published code]"""
    iterations: int = 50
    """T: visits of a root, with those it had before it became one, after which a set is committed to. [paper]"""
    min_iterations: int = 15
    """Iterations for a root, however often it was visited before, until the threshold is met; at most T. [published
    code]"""
    visit_threshold: int = 6
    """T_m: the most visited child needs more visits. [published code; per task]"""
    threshold: float = 0.8
    """V: the most visited child needs a higher value. [paper]"""
    max_tokens: int = 256
    """Greatest length of an answer. Ours; the published code stops at 2048 tokens in all."""
    simulate_to_end: bool = False
    """Simulate to the end of the answer and not to a pause. [published code, truthfulness]"""
    judged_by: JudgedBy = "verdict"
    """What an answer's value comes from. [paper; "log-odds" is ours]"""

    def __post_init__(self) -> None:
        counts = (*self.lengths, self.candidates, self.top_k, self.max_tokens)
        iterations = min(self.iterations, self.min_iterations)
        if not self.lengths or min(counts) < 1 or iterations < 2 or self.draws < 0:
            raise UserError(
                "RAIN's lengths, candidates, top_k and max_tokens must be at least 1, iterations and min_iterations 2"
            )
        if not self.temperature > 0 or not 0 <= self.prior_mixing <= 1 or not -1 <= self.threshold <= 1:
            raise UserError("RAIN needs a temperature above 0, prior_mixing in [0, 1] and a threshold in [-1, 1]")

    def length_at(self, depth: int) -> int:
        """Return how many tokens a child of a node at this depth has."""
        return self.lengths[min(depth, len(self.lengths) - 1)]


def search_answer(
    writer: Writer,
    judge: Judge,
    prompt: EncodedPrompt,
    config: RainConfig | None = None,
    *,
    encoder: Encoder | None = None,
    key: tuple[int, ...] = (0,),
    budget: Budget | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> RainResult:
    """Search an answer to one prompt.

    Args:
        writer: Writes token sets and simulations.
        judge: Judges answers.
        prompt: What is to be answered.
        config: The search's settings.
        encoder: Embeds what was written; without one, siblings are not compared and no children are added.
        key: Names the randomness.
        budget: What the search may use.
        progress: Called after each iteration with the answer so far and the number of iterations.

    Raises:
        UserError: The prompt leaves no room for an answer.
    """
    return RainSearch(writer, judge, prompt, config or RainConfig(), encoder, key, budget or Budget(), progress).run()


class RainSearch:
    """One search. Everything but the main loop is a step of it; see the module's docstring."""

    def __init__(
        self,
        writer: Writer,
        judge: Judge,
        prompt: EncodedPrompt,
        config: RainConfig,
        encoder: Encoder | None,
        key: tuple[int, ...],
        budget: Budget,
        progress: Callable[[str, int], None] | None,
    ) -> None:
        self.writer, self.judge, self.prompt, self.config = writer, judge, prompt, config
        self.encoder, self.key, self.budget, self.progress = encoder, key, budget, progress
        self.reader = AnswerReader(prompt, writer.engine, config.max_tokens)
        self.tracker = BudgetTracker(budget, writer.engine)
        self.root = Node(())
        self.commits: list[Commit] = []
        self.exhausted = ""
        self.values: dict[Tokens, float] = {}
        self.abstained = self.disagreed = 0

    def run(self) -> RainResult:
        """Search and commit to one token set after another, until the answer ends or a budget is used up."""
        while not (self.root.terminal or self.exhausted):
            self.search_token_set()
            if self.exhausted:
                self.commit_best_path()
            else:
                self.commit(self.root.most_visited_child())
                if len(self.commits) == self.budget.sets and not self.root.terminal:
                    self.exhausted = "sets"
        return self.result()

    def search_token_set(self) -> None:
        """The inner loop: grow the tree until its most visited child can be committed to, or a budget is used up."""
        config, visits = self.config, self.root.visits
        new = min(config.min_iterations, config.iterations)
        for _ in range(visits, max(config.iterations, visits + new)):
            self.iterate()
            self.count_iteration()
            if self.exhausted or (self.root.children and self.meets_threshold(self.root.most_visited_child())):
                break

    def iterate(self) -> None:
        """Visit one leaf."""
        leaf = self.select()
        if leaf.visits and not leaf.terminal:  # not at its first visit: many leaves are never visited again
            self.expand(leaf)
            leaf = select_child(leaf, self.config.exploration)
        answer = self.evaluate(self.simulate(leaf))
        self.backpropagate(leaf, answer)
        self.update_similar_siblings(leaf, answer)

    def select(self) -> Node:
        """Go from the root to a leaf by the selection rule, adding children on the way where all are alike and bad."""
        node = self.root
        while node.expanded:
            self.add_child_if_alike(node)
            node = select_child(node, self.config.exploration)
        return node

    def expand(self, leaf: Node) -> None:
        """Propose a leaf's children: the likeliest tokens, or the greedy set and sampled ones."""
        config, size = self.config, self.set_size(leaf)
        key = (*self.key, _EXPAND, *leaf.index_path)
        if size == 1:
            plans = [BranchPlan(1, rank=rank, top_k=config.max_children) for rank in range(config.candidates)]
        else:
            plans = [self.plan_set(leaf, size)]
            plans += [self.plan_set(leaf, size, key, draw) for draw in range(config.draws)]
        for number, branch in enumerate(self.writer.write(self.prefix(leaf), plans, self.prompt.end_tokens)):
            if len(leaf.children) < config.candidates:
                self.add_child(leaf, branch.tokens, branch.logprob, greedy=size > 1 and number == 0)
        leaf.expanded = True
        self.set_priors(leaf)

    def add_child_if_alike(self, node: Node) -> None:
        """Add one child to a node whose children are alike and all bad (dynamic node addition)."""
        config, size = self.config, self.set_size(node)
        if len(node.children) >= config.max_children or max(child.value for child in node.children) >= 0:
            return
        variance = embedding_variance(node.children)
        if variance is None or variance >= config.variance_threshold * size:
            return
        plan = BranchPlan(1, rank=len(node.children), top_k=config.max_children)
        if size > 1:
            plan = self.plan_set(node, size, (*self.key, _ADD_CHILD, *node.index_path), node.additions_tried)
        node.additions_tried += 1
        (branch,) = self.writer.write(self.prefix(node), [plan], self.prompt.end_tokens)
        self.add_child(node, branch.tokens, branch.logprob, greedy=False)
        self.set_priors(node)

    def simulate(self, leaf: Node) -> Tokens:
        """Continue a leaf to a pause or to the end; returns the whole answer."""
        if leaf.terminal:
            return leaf.answer

        def is_over(tokens: Sequence[int]) -> bool:
            pause = not self.config.simulate_to_end and self.reader.ends_in_pause(tokens)
            return pause or self.reader.hits_stop_string(leaf.answer + tuple(tokens))

        key = (*self.key, _SIMULATE, *leaf.index_path)
        plan = BranchPlan(self.reader.max_tokens - len(leaf.answer), key, leaf.visits, should_stop=is_over)
        (branch,) = self.writer.write(self.prefix(leaf), [plan], self.prompt.end_tokens)
        return leaf.answer + branch.tokens

    def evaluate(self, answer: Tokens) -> JudgedAnswer:
        """Have the model judge an answer; it judges each distinct one once."""
        if answer not in self.values:
            verdict = self.judge(self.prompt.question, self.reader.text(answer))
            self.values[answer] = verdict.value
            self.abstained += verdict.abstained
            self.disagreed += verdict.disagreed
        return JudgedAnswer(answer, self.values[answer])

    def backpropagate(self, leaf: Node, answer: JudgedAnswer) -> None:
        """Count a visit with the answer's value at every node from the leaf up to the root: v += (value - v) / n."""
        for node in leaf.path_from_root():
            node.add_visit(answer)

    def update_similar_siblings(self, leaf: Node, answer: JudgedAnswer) -> None:
        """Let siblings of the path's nodes count the value too, weighted by similarity (section 3.3).

        Every node of the path first averages the embedding of what was written from it on. A sibling whose cosine with
        it reaches the threshold then counts the value with weight gamma times the cosine.
        """
        config, path = self.config, leaf.path_from_root()[1:]
        if self.encoder is None or not path:
            return
        starts = [len(node.answer) - len(node.tokens) for node in path]
        embeddings = self.encoder(self.prompt.tokens, answer.tokens, starts)
        for node, embedding in zip(path, embeddings, strict=True):
            if embedding is None:
                continue
            node.add_embedding(embedding)
            for sibling in node.siblings():
                if (cosine := cosine_similarity(node, sibling)) >= config.similarity_threshold:
                    sibling.add_value(answer.value, config.similarity_weight * cosine)

    def meets_threshold(self, node: Node) -> bool:
        """Whether a node is good enough to commit to at once."""
        return node.visits > self.config.visit_threshold and node.value > self.config.threshold

    def commit(self, chosen: Node) -> None:
        """Make a child the new root: its subtree stays, its siblings go."""
        self.commits.append(
            Commit(
                chosen=ChildStatistics.of(chosen),
                rejected=tuple(ChildStatistics.of(node) for node in chosen.siblings() if node.visits),
                iterations=self.tracker.iterations - sum(commit.iterations for commit in self.commits),
                met=self.meets_threshold(chosen),
            )
        )
        chosen.parent, self.root = None, chosen
        if chosen.children:
            self.set_priors(chosen)

    def commit_best_path(self) -> None:
        """Commit to the most visited children all the way down: the best answer so far."""
        while self.root.children and self.root.most_visited_child().visits:
            self.commit(self.root.most_visited_child())

    def count_iteration(self) -> None:
        """Count an iteration, report progress, and note which budget is used up."""
        self.tracker.iterations += 1
        if self.progress is not None:
            self.progress(self.reader.text(self.root.answer), self.tracker.iterations)
        self.exhausted = self.tracker.exhausted()

    def result(self) -> RainResult:
        """Return the answer committed to, and how it was searched."""
        answer = self.root.answer
        return RainResult(
            tokens=answer,
            text=self.reader.text(answer),
            stopped=self.exhausted or ("end" if self.reader.has_ended(answer) else "length"),
            commits=tuple(self.commits),
            iterations=self.tracker.iterations,
            judged=len(self.values),
            abstained=self.abstained,
            disagreed=self.disagreed,
            embedding="none" if self.encoder is None else self.encoder.name,
            forwarded=self.tracker.forwarded,
            root=self.root,
        )

    def add_child(self, node: Node, tokens: Tokens, logprob: float, *, greedy: bool) -> None:
        """Add a child to a node; it is terminal if nothing can follow it."""
        node.add_child(tokens, logprob, greedy=greedy, terminal=self.reader.is_terminal(node.answer + tokens))

    def set_priors(self, node: Node) -> None:
        """Set the priors of a node's children, mixed with the uniform distribution at the root."""
        set_priors(node, self.config.prior_mixing if node is self.root else 0.0)

    def plan_set(self, node: Node, size: int, key: tuple[int, ...] | None = None, draw: int = 0) -> BranchPlan:
        """Return the rule to write a token set after a node: sampled with a key, else greedy."""
        return BranchPlan(
            size,
            key,
            draw,
            top_k=self.config.top_k,
            temperature=self.config.temperature,
            should_stop=lambda tokens: self.reader.hits_stop_string(node.answer + tuple(tokens)),
        )

    def set_size(self, node: Node) -> int:
        """Return how many tokens a child of a node has: fewer where the answer must end."""
        return min(self.config.length_at(node.depth), self.reader.max_tokens - len(node.answer))

    def prefix(self, node: Node) -> Tokens:
        """Return what the model reads before it continues a node."""
        return self.prompt.tokens + node.answer
