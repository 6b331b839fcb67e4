"""RAIN: Your Language Models Can Align Themselves without Finetuning (arXiv 2309.07124). Rewindable inference.

A frozen model writes an answer token set by token set, searches before it commits to one, and judges itself. Before
every commitment, an inner loop grows a tree of token sets below what is committed:

1. Select. From the root go to the child of the highest v + c u, u = p sqrt(n of the parent) / (1 + n), down to a leaf.
   On the way, a node whose children are alike (small variance of their embeddings) and all bad gets one child more.
2. Propose. A leaf gets children: sets of 1, 2, 4, and then 10 tokens, by depth; the likeliest single tokens, or the
   greedy continuation and draws among the likeliest tokens, with their probabilities as priors p.
3. Simulate. Continue the leaf until a pause (a punctuation mark) or the end; this text is not added to the tree.
4. Judge. The model compares "harmless" with "harmful", by the probability of two labels and in both orders
   (`rain_judge.py`): a value of -1, 0 or 1.
5. Back up. Every node of the path takes in the value as a visit and the embedding of what was written from it on;
   siblings with a similar embedding take in the value too, with weight gamma times the cosine.

The loop ends when the child of the most visits has more than T_m of them and a value above V, or after T iterations.
That child is committed to, and becomes the root; its subtree and its statistics stay. The answer ends at an end token,
at the asker's next turn or at its longest length.

What is committed to after T iterations may still be bad: `Commit.met` and `RainResult.met` say so, and a caller may
refuse to answer. Where a budget runs out, the result is the best path so far and `stopped` names the budget.

Constants of which the paper says nothing are those of the published code; `RainConfig` tells them apart. Deliberate
differences from that code:

- a leaf's proposals are made when it is visited again and not at once (`Writer.eager` makes them at once): the same
  tree, for proposals are drawn from random numbers that the node's place in the tree names;
- equal label probabilities count half instead of zero, and a model that gives both labels next to nothing abstains;
- truthfulness, too, is judged by A and B and in both orders, where the code asks once, for yes or no;
- pauses include those of Chinese, Japanese and Korean; end tokens are looked for as tokens and the asker's next turn in
  the answer's own text, so that nothing the user writes is taken for either;
- sets are cut at their first end token and told apart after that; probabilities of sets are kept as logarithms;
- without a sentence encoder the model's own attention values are the embeddings (`rain_models.py`), for which the
  thresholds of similarity were not made; a model on a server shows none, and siblings are then not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from momus.errors import UserError
from momus.lm.branches import BranchPlan
from momus.search.rain.answer import Answers, Subject
from momus.search.rain.judge import Judge
from momus.search.rain.models import Encoder, Writer
from momus.search.rain.result import Budget, Commit, Meter, RainResult, option_of
from momus.search.rain.tree import Heard, Node, select, set_priors, similarity, spread_of
from momus.search.result import Tokens

_PROPOSE, _ADD, _SIMULATE = range(3)


@dataclass(frozen=True)
class RainConfig:
    """A search's settings; the defaults are those for harmlessness (HH)."""

    lengths: tuple[int, ...] = (1, 2, 4, 10)
    """Tokens in a set, by depth; the last for all deeper ones. [published code]"""
    candidates: int = 10
    """Most children that are proposed at once. [published code]"""
    draws: int = 9
    """Sets drawn besides the greedy one. [published code]"""
    top_k: int = 15
    """Sets are drawn among so many likeliest tokens at every place. [published code]"""
    temperature: float = 1.0
    """Of those draws. [published code]"""
    exploration: float = 2.0
    """c of the selection rule. [paper, section 3.2]"""
    evenly: float = 0.25
    """Share of the prior that the root spreads evenly over its children. [published code]"""
    similar_from: float = 0.95
    """Cosine of embeddings from which siblings are similar. [published code]"""
    similar_weight: float = 0.2
    """gamma: how much a similar sibling's value counts, times the cosine. [paper, section 3.3]"""
    spread: float = 0.03
    """Children are alike below this norm of their embeddings' variance, times the tokens in a set. [published code]"""
    most_children: int = 20
    """No node gets more children. [published code]"""
    iterations: int = 50
    """T: visits of a root, with those it had before it became one, after which a set is committed to. [paper]"""
    at_least: int = 15
    """Iterations for a root whatever it was visited before, if the threshold is not met; at most T. [published code]"""
    visits: int = 6
    """T_m: the favourite child needs more visits. [published code; per task]"""
    threshold: float = 0.8
    """V: the favourite child needs a higher value. [paper]"""
    max_tokens: int = 256
    """Longest answer. Ours; the published code stops at 2048 tokens in all."""
    to_the_end: bool = False
    """Simulate to the end of the answer and not to a pause. [published code, truthfulness]"""

    def __post_init__(self) -> None:
        counts = (*self.lengths, self.candidates, self.top_k, self.iterations - 1, self.at_least - 1, self.max_tokens)
        if not self.lengths or min(counts) < 1 or self.draws < 0:
            raise UserError(
                "RAIN's lengths, candidates, top_k and max_tokens must be at least 1, iterations and at_least 2"
            )
        if not self.temperature > 0 or not 0 <= self.evenly <= 1 or not -1 <= self.threshold <= 1:
            raise UserError("RAIN needs a temperature above 0, evenly in [0, 1] and a threshold in [-1, 1]")

    def length_at(self, depth: int) -> int:
        """Return how many tokens a child of a node at this depth has."""
        return self.lengths[min(depth, len(self.lengths) - 1)]


def search(
    writer: Writer,
    judge: Judge,
    subject: Subject,
    config: RainConfig | None = None,
    *,
    encoder: Encoder | None = None,
    key: tuple[int, ...] = (0,),
    budget: Budget | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> RainResult:
    """Search an answer.

    Args:
        writer: Writes token sets and simulations; `Fast`, or `Plain` for comparison.
        judge: Says how good an answer is.
        subject: What is to be answered.
        config: The search.
        encoder: Embeds what was written; None neither compares siblings nor adds children.
        key: Names the randomness.
        budget: What may be used.
        progress: Told the answer so far and the number of iterations after each iteration.

    Raises:
        UserError: The prompt leaves no room for an answer.
    """
    return _Search(writer, judge, subject, config or RainConfig(), encoder, key, budget or Budget(), progress).run()


class _Search:
    """One search: the committed tokens, and the tree below them."""

    def __init__(
        self,
        writer: Writer,
        judge: Judge,
        subject: Subject,
        config: RainConfig,
        encoder: Encoder | None,
        key: tuple[int, ...],
        budget: Budget,
        progress: Callable[[str, int], None] | None,
    ) -> None:
        self.writer, self.judge, self.subject, self.config = writer, judge, subject, config
        self.encoder, self.key, self.progress = encoder, key, progress
        self.answers, self.meter = Answers(subject, writer.engine, config.max_tokens), Meter(budget, writer.engine)
        self.committed: Tokens = ()
        self.root = Node(())
        self.commits: list[Commit] = []
        self.verdicts: dict[Tokens, float] = {}
        self.abstained = self.disagreed = 0

    def run(self) -> RainResult:
        """Commit to one token set after another."""
        stopped = ""
        while not self.root.final and not stopped:
            stopped = self.search_set()
            if not stopped and not self.root.final and len(self.commits) == self.meter.sets:
                stopped = "sets"
        stopped = stopped or ("end" if self.answers.ended(self.committed) else "length")
        return RainResult(
            tokens=self.committed,
            text=self.answers.text(self.committed),
            stopped=stopped,
            commits=tuple(self.commits),
            iterations=self.meter.iterations,
            judged=len(self.verdicts),
            abstained=self.abstained,
            disagreed=self.disagreed,
            embedding="none" if self.encoder is None else self.encoder.name,
            forwarded=self.meter.forwarded,
            root=self.root,
        )

    def search_set(self) -> str:
        """The inner loop, and the commitment at its end; returns the budget that ran out, or ""."""
        config, root, before = self.config, self.root, self.meter.iterations
        new = min(config.at_least, config.iterations)
        for _ in range(root.visits, max(config.iterations, root.visits + new)):
            self.iterate()
            self.meter.iterations += 1
            if self.progress is not None:
                self.progress(self.answers.text(self.committed), self.meter.iterations)
            if spent := self.meter.spent():
                while self.root.children and self.root.favourite().visits:  # the best path so far
                    self.commit(self.meter.iterations - before)
                    before = self.meter.iterations
                return spent
            if root.children and self.satisfied(root.favourite()):
                break
        self.commit(self.meter.iterations - before)
        return ""

    def satisfied(self, node: Node) -> bool:
        """Whether a node is good enough to commit to at once."""
        return node.visits > self.config.visits and node.value > self.config.threshold

    def commit(self, iterations: int) -> None:
        """Go on below the child of the most visits, and forget its siblings."""
        chosen = self.root.favourite()
        rejected = [child for child in self.root.children if child is not chosen]
        self.commits.append(
            Commit(
                chosen=option_of(chosen),
                rejected=tuple(option_of(child) for child in rejected if child.best is not None),
                iterations=iterations,
                met=self.satisfied(chosen),
            )
        )
        self.committed += chosen.tokens
        chosen.parent, self.root = None, chosen
        if chosen.children:
            set_priors(chosen, self.config.evenly)

    def iterate(self) -> None:
        """Select, propose, simulate, judge and back up: one visit of a leaf."""
        leaf = self.descend()
        path = leaf.path()
        written = self.committed + tuple(token for node in path[1:] for token in node.tokens)
        if leaf.open and self.writer.eager and not leaf.final:
            self.propose(leaf, written)
        answer = written if leaf.final else self.simulate(leaf, written)
        self.back_up(path, Heard(answer, self.value(answer)))

    def descend(self) -> Node:
        """Go from the root to a leaf by the selection rule; a leaf visited before gets its proposals first."""
        node, written = self.root, self.committed
        while node.visits and not node.final:
            if node.open:
                self.propose(node, written)
            self.add_if_alike(node, written)
            node = select(node, self.config.exploration)
            written += node.tokens
        return node

    def propose(self, node: Node, written: Tokens) -> None:
        """Give a node its children."""
        config, size = self.config, self.set_size(node, written)
        key = (*self.key, _PROPOSE, *node.name)
        if size == 1:
            plans = [BranchPlan(1, rank=rank, top_k=config.most_children) for rank in range(config.candidates)]
        else:
            plans = [self.plan(written, size)]
            plans += [self.plan(written, size, key, draw) for draw in range(config.draws)]
        for number, branch in enumerate(self.writer.write(self.prefix(written), plans, self.subject.ends)):
            if len(node.children) < config.candidates:
                final = self.answers.is_final(written + branch.tokens)
                node.add(branch.tokens, branch.logprob, greedy=size > 1 and number == 0, final=final)
        node.open = False
        set_priors(node, config.evenly if node is self.root else 0.0)

    def add_if_alike(self, node: Node, written: Tokens) -> None:
        """Add a child to a node whose children are alike, and all bad."""
        config, size = self.config, self.set_size(node, written)
        if len(node.children) >= config.most_children or max(child.value for child in node.children) >= 0:
            return
        spread = spread_of(node.children)
        if spread is None or spread >= config.spread * size:
            return
        plan = BranchPlan(1, rank=len(node.children), top_k=config.most_children)
        if size > 1:
            plan = self.plan(written, size, (*self.key, _ADD, *node.name), node.tried)
        node.tried += 1
        (branch,) = self.writer.write(self.prefix(written), [plan], self.subject.ends)
        node.add(branch.tokens, branch.logprob, greedy=False, final=self.answers.is_final(written + branch.tokens))
        set_priors(node, config.evenly if node is self.root else 0.0)

    def simulate(self, leaf: Node, written: Tokens) -> Tokens:
        """Continue a leaf to a pause or the end; returns the whole answer."""
        key = (*self.key, _SIMULATE, *leaf.name)
        plan = BranchPlan(
            self.answers.longest - len(written),
            key,
            leaf.visits,
            should_stop=lambda tokens: (
                (not self.config.to_the_end and self.answers.pausing(tokens))
                or self.answers.marked(written + tuple(tokens))
            ),
        )
        (branch,) = self.writer.write(self.prefix(written), [plan], self.subject.ends)
        return written + branch.tokens

    def value(self, answer: Tokens) -> float:
        """Return what the judge says of an answer; it is asked once."""
        if answer not in self.verdicts:
            verdict = self.judge(self.subject.asked, self.answers.text(answer))
            self.verdicts[answer] = verdict.value
            self.abstained += verdict.abstained
            self.disagreed += verdict.disagreed
        return self.verdicts[answer]

    def back_up(self, path: Sequence[Node], heard: Heard) -> None:
        """Let all nodes of a path hear a value, and siblings that are similar to them."""
        config = self.config
        path[0].hear(heard)
        starts, at = [], len(self.committed)
        for node in path[1:]:
            starts.append(at)
            at += len(node.tokens)
        embeddings = self.encoder(self.subject.prompt, heard.tokens, starts) if self.encoder and starts else []
        for place, node in enumerate(path[1:]):
            node.hear(heard)
            if not embeddings or (embedding := embeddings[place]) is None:
                continue
            node.embed(embedding)
            for sibling in path[place].children:
                if sibling is not node and (cosine := similarity(node, sibling)) >= config.similar_from:
                    sibling.weigh(heard.value, config.similar_weight * cosine)

    def plan(self, written: Tokens, size: int, key: tuple[int, ...] | None = None, draw: int = 0) -> BranchPlan:
        """Return how to write a set: drawn with a key, else the likeliest one."""
        return BranchPlan(
            size,
            key,
            draw,
            top_k=self.config.top_k,
            temperature=self.config.temperature,
            should_stop=lambda tokens: self.answers.marked(written + tuple(tokens)),
        )

    def set_size(self, node: Node, written: Tokens) -> int:
        """Return how many tokens a child of a node has: fewer where the answer must end."""
        return min(self.config.length_at(node.depth), self.answers.longest - len(written))

    def prefix(self, written: Tokens) -> Tokens:
        """Return what the model reads before it goes on."""
        return self.subject.prompt + written
