"""Scores of comments: what each is of, brute force beside it; the dial and the searches that go by them."""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.critics.scores.critic import ScoredCritic, ScoreDial
from momus.critics.scores.judged import LABELS, JudgedConfig, JudgedScore, write_prompt
from momus.critics.scores.open import ScoreSource, open_score
from momus.critics.scores.protocol import Opinion, Scored, log_odds, sigmoid
from momus.critics.scores.reward import RewardScore, as_trained
from momus.critics.scores.search import as_reward, score_critiques
from momus.critics.scores.share import SampleShare, each_by_itself, gather
from momus.critics.vacuous import drop_vacuous
from momus.critique import NO_PROBLEMS, Comment, Critique, anchor, format_critique, parse_critique
from momus.errors import UserError
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.protocol import Answer
from momus.lm.chats.server import NO_PROBABILITIES
from momus.lm.engine import Choice
from momus.lm.models import RewardModel
from momus.lm.prompts import prompt_of
from momus.records import Task
from momus.search.candidates import encode_tasks
from momus.search.fsbs import FSBSConfig, choose_best, force_sampling_beam_search
from momus.search.result import RewardSource
from momus.search.reward import reward_function
from support.candidates import written
from support.tiny import llama, tiny_engine

CODE = "def f(a, b):\n    c = a - b\n    d = a * b\n    return c + d"
TASK = Task(id="f", question="", answer=CODE)
LINES = [line.strip() for line in CODE.split("\n")]
TEXTS = ["Divides by zero for empty lists.", "Division by zero for an empty list.", "The sign is wrong.", "Odd."]


def comment(line: str, text: str) -> Comment:
    return Comment(highlight=line, text=text, span=anchor(line, CODE))


comments = st.builds(comment, st.sampled_from([*LINES, "not there"]), st.sampled_from(TEXTS))
critiques = st.lists(comments, max_size=3).map(lambda found: Critique(comments=tuple(found)))
reviews = st.lists(critiques, min_size=1, max_size=6)
probabilities = st.floats(0.001, 0.999)


class Judge:
    """Holds a comment right with a probability that its text decides, and likes the label A more by some log-odds."""

    name = "judge"

    def __init__(self, liking: float = 0.0, mass: float = 1.0) -> None:
        self.liking, self.mass, self.asked = liking, mass, []

    def identity(self) -> dict[str, str]:
        return {"model": "judge"}

    def count(self, messages: Any) -> int:
        return len(messages[0].content)

    def believes(self, text: str) -> float:
        return random.Random(text).uniform(0.02, 0.98)

    def answer(self, questions: Any) -> list[Answer]:
        self.asked += questions
        return [self._answer(question) for question in questions]

    def _answer(self, question: Any) -> Answer:
        asked = question.messages[0].content
        (text,) = [text for text in TEXTS if f"\n\n{text}\n" in asked]
        a_is_right = "A: It is right." in asked
        odds = log_odds(self.believes(text)) * (1 if a_is_right else -1) + self.liking
        if question.options:
            return Answer("", choice=Choice(sigmoid(odds), self.mass))
        return Answer("A" if random.Random(repr(question.key)).random() < sigmoid(odds) else " **B**")


def score_of(score: Any, *texts: str) -> tuple[float, ...]:
    found = tuple(comment(LINES[1], text) for text in texts)
    (scored,) = score.score([TASK], [Opinion(found, (1,) * len(found), 1)])
    assert not scored.problem
    return scored.values


@given(reviews, st.randoms())
def test_what_reviews_say_does_not_depend_on_their_order(reviews: list[Critique], rng: random.Random) -> None:
    opinion = gather(reviews, CODE)
    shuffled = [
        review.model_copy(update={"comments": tuple(rng.sample(review.comments, len(review.comments)))})
        for review in rng.sample(reviews, len(reviews))
    ]
    assert gather(shuffled, CODE) == opinion
    (scored,) = SampleShare().score([TASK], [opinion])
    assert all(0 < share <= 1 for share in scored.values)


@given(reviews)
def test_the_share_is_of_the_reviews_that_make_the_comment(reviews: list[Critique]) -> None:
    opinion = gather(reviews, CODE)
    for number, (found, count) in enumerate(zip(opinion.comments, opinion.counts, strict=True)):
        same = {c for c, index in opinion.index.items() if index == number}
        assert found in same and len({c.span for c in same}) == 1
        assert count == sum(any(c in same for c in review.comments) for review in reviews)
    assert set(opinion.index) == {c for review in reviews for c in review.anchored}


def test_comments_are_the_same_by_line_and_meaning() -> None:
    saying = [[comment(LINES[1], TEXTS[0])], [comment(LINES[1], TEXTS[1])], [comment(LINES[1], TEXTS[2])]]
    saying += [[comment(LINES[2], TEXTS[0])]]
    opinion = gather([Critique(comments=tuple(found)) for found in saying], CODE)
    assert [(c.highlight, c.text) for c in opinion.comments] == [
        (LINES[1], TEXTS[0]), (LINES[1], TEXTS[2]), (LINES[2], TEXTS[0])
    ]  # fmt: skip
    assert opinion.counts == (2, 1, 1) and opinion.reviews == 4


@given(st.floats(-5, 5), st.sampled_from(TEXTS))
def test_a_liking_for_a_label_is_taken_out_of_the_probability(liking: float, text: str) -> None:
    (value,) = score_of(JudgedScore(Judge(liking)), text)
    assert value == pytest.approx(Judge().believes(text), abs=1e-4)


@given(probabilities, probabilities)
def test_the_probability_is_what_brute_force_makes_of_both_orders_and_labels_may_be_swapped(
    first: float, second: float
) -> None:
    chosen = [Choice(first, 1.0), Choice(second, 1.0)]
    chat = Judge()
    chat.answer = lambda questions: [Answer("", choice=choice) for choice in chosen]
    (value,) = score_of(JudgedScore(chat), TEXTS[0])
    odds = (first / (1 - first)) / (second / (1 - second))
    assert value == pytest.approx(math.sqrt(odds) / (1 + math.sqrt(odds)))
    chosen.reverse()  # what a model says to whom "right" and "wrong" are the other way round
    assert score_of(JudgedScore(chat), TEXTS[0])[0] == pytest.approx(1 - value)


def test_the_probability_over_an_engine_is_that_of_its_next_token_in_both_orders() -> None:
    engine = tiny_engine()
    (value,) = score_of(JudgedScore(EngineChat(engine)), TEXTS[2])
    odds = []
    for sides in (("It is right.", "It is wrong."), ("It is wrong.", "It is right.")):
        prompt = write_prompt("right", TASK, comment(LINES[1], TEXTS[2]))
        prefix = engine.encode(prompt.replace("{labels}", f"A: {sides[0]}\nB: {sides[1]}"), bos=True)
        a, b = (engine.score(prefix, [engine.encode(label, bos=False)])[0][0] for label in LABELS)
        mass = math.exp(a) + math.exp(b)
        odds.append(a - b if mass >= 0.01 else 0.0)
    assert value == pytest.approx(sigmoid((odds[0] - odds[1]) / 2), abs=1e-5)


def test_a_model_that_was_not_answering_is_even() -> None:
    assert score_of(JudgedScore(Judge(mass=0.001)), *TEXTS) == (0.5,) * 4


def test_the_share_of_answers_comes_near_the_probability_and_reads_letters_only() -> None:
    (value,) = score_of(JudgedScore(Judge(), JudgedConfig(samples=200)), TEXTS[2])
    assert value == pytest.approx(Judge().believes(TEXTS[2]), abs=0.1)
    chat = Judge()
    chat.answer = lambda questions: [Answer(text) for text in ("A.", "Absolutely right", "b", "B: wrong")]
    assert score_of(JudgedScore(chat, JudgedConfig(samples=2)), TEXTS[0]) == (1.0,)
    chat.answer = lambda questions: [Answer("", "the model declines")] * len(questions)
    (scored,) = JudgedScore(chat, JudgedConfig(samples=2)).score([TASK], [gather([critique_of(TEXTS[0])], CODE)])
    assert scored == Scored((), "the model declines")


def test_a_server_without_probabilities_is_one_line_that_names_the_way_out() -> None:
    chat = Judge()
    chat.answer = lambda questions: [Answer("", NO_PROBABILITIES, refused=True)] * len(questions)
    with pytest.raises(UserError, match="--score answers"):
        score_of(JudgedScore(chat), TEXTS[0])


def critique_of(*texts: str) -> Critique:
    return Critique(comments=tuple(comment(LINES[1], text) for text in texts))


def test_a_reward_models_score_is_the_odds_of_the_comment_against_no_problems() -> None:
    engine = tiny_engine()
    model = RewardModel(llama(3, vocab=len(engine.tokenizer)).model).eval()
    reward = reward_function(model)
    found = (comment(LINES[1], TEXTS[0]), comment(LINES[3], TEXTS[2]))
    opinions = [Opinion((), (), 1), Opinion(found, (1, 1), 1)]
    nothing, scored = RewardScore(reward, engine, "r").score([TASK, TASK], opinions)
    assert nothing == Scored(())
    prompt = tuple(engine.encode(prompt_of(TASK), bos=True))

    def alone(text: str) -> float:
        return reward([prompt], [[(*engine.encode(text, bos=False), engine.tokenizer.eos_token_id)]])[0][0]

    expected = [sigmoid(alone(as_trained(c, CODE)) - alone(NO_PROBLEMS)) for c in found]
    assert scored.values == pytest.approx(expected, abs=1e-5)
    assert parse_critique(as_trained(found[1], CODE), CODE).comments[0].span == found[1].span


class Fixed:
    """Scores comments by their texts."""

    def __init__(self, exact: bool = False) -> None:
        self.exact = exact

    def score(self, tasks: Any, opinions: Any) -> list[Scored]:
        return [Scored(tuple(Judge().believes(c.text) for c in opinion.comments)) for opinion in opinions]

    def identity(self) -> dict[str, str]:
        return {"kind": "fixed"}


class Writer:
    """A critic that always writes the same reviews."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def fits(self, task: Task) -> bool:
        return True

    def write(self, tasks: Any) -> Any:
        return [written(task.answer, *self.texts) for task in tasks]

    def identity(self) -> dict[str, str]:
        return {"kind": "writer"}


@given(reviews, st.floats(0, 1))
def test_the_dial_keeps_the_comments_that_score_enough(reviews: list[Critique], setting: float) -> None:
    (result,) = ScoredCritic(Writer(*map(format_critique, reviews)), Fixed()).write([TASK])
    chosen = ScoreDial().choose(drop_vacuous(result, CODE), CODE, setting)
    expected = {c.text for c in gather(reviews, CODE).comments if Judge().believes(c.text) >= setting - 1e-9}
    assert {c.text for c in chosen.anchored} == expected
    assert {c.highlight for c in chosen.unanchored} <= {"not there"}
    every = [ScoreDial().choose(result, CODE, s).anchored for s in ScoreDial().settings(result)]
    assert ScoreDial().choose(result, CODE, setting).anchored in [*every, ()]


def test_vacuous_comments_are_not_scored_and_stay_to_be_counted() -> None:
    asked = []

    class Watching(Fixed):
        def score(self, tasks: Any, opinions: Any) -> list[Scored]:
            asked.extend(c.text for opinion in opinions for c in opinion.comments)
            return super().score(tasks, opinions)

    text = f"```\n{LINES[1]}\n```\n-\n\n```\n{LINES[1]}\n```\nOdd."
    (result,) = ScoredCritic(Writer(text), Watching()).write([TASK])
    assert asked == ["Odd."]
    assert [c.text for c in result.candidates[0].critique.comments] == ["Odd.", "-"]
    assert [c.text for c in drop_vacuous(result, CODE).candidates[0].critique.comments] == ["Odd."]


def test_comments_that_cannot_be_scored_leave_no_critique_and_say_why() -> None:
    class Failing(Fixed):
        def score(self, tasks: Any, opinions: Any) -> list[Scored]:
            return [Scored((), "the budget is spent")]

    (result,) = ScoredCritic(Writer("```\nd = a * b\n```\nOdd."), Failing()).write([TASK])
    assert (result.candidates, result.problem) == ((), "the budget is spent")


@given(reviews, st.booleans())
def test_the_reward_of_a_critique_is_the_sum_of_its_comments_log_odds(reviews: list[Critique], exact: bool) -> None:
    (rewards,) = score_critiques(Fixed(exact), [TASK], [reviews])
    opinion = each_by_itself(reviews, CODE) if exact else gather(reviews, CODE)
    assert not exact or set(opinion.comments) == {c for review in reviews for c in review.anchored}
    for review, reward in zip(reviews, rewards, strict=True):
        said = {opinion.comments[opinion.index[c]] for c in review.anchored}
        odds = sum(log_odds(Judge().believes(c.text)) for c in said) + len(review.unanchored) * log_odds(0)
        assert reward == pytest.approx(odds)


def test_a_comment_that_says_nothing_is_worth_one_that_is_surely_wrong() -> None:
    """A search by a score of the line alone would prefer saying nothing on a likely line to silence."""
    said = [
        Critique(comments=(comment(LINES[1], text),)) for text in ("Odd.", "No problem here.", "Should be `a - b`.")
    ]
    for exact in (False, True):
        ((odd, *vacuous),) = score_critiques(Fixed(exact), [TASK], [said])
        assert vacuous == [log_odds(0)] * 2 < [odd] * 2


@pytest.mark.parametrize("score", [SampleShare(), JudgedScore(EngineChat(tiny_engine())), "reward"])
def test_fsbs_goes_by_any_score(score: Any) -> None:
    engine = tiny_engine()
    if score == "reward":
        model = RewardModel(llama(3, vocab=len(engine.tokenizer)).model).eval()
        score = RewardScore(reward_function(model), engine, "r")
    config = FSBSConfig(n=2, k=1, d=2, max_tokens=24)
    (result,) = force_sampling_beam_search(
        engine,
        as_reward(score, engine, [TASK], encode_tasks(engine, [TASK])),
        encode_tasks(engine, [TASK]),
        config,
        key=0,
    )
    assert len(result.candidates) == config.candidates
    assert all(math.isfinite(candidate.score) for candidate in result.candidates)
    assert choose_best(result, 1e9).highlights == max(c.highlights for c in result.candidates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "samples", "model": "m"}, "asks no model"),
        ({"kind": "reward"}, "needs a reward model"),
        ({"kind": "answers", "reward": RewardSource(url="http://x")}, "uses no reward model"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScoreSource(**options)


def test_a_score_that_asks_needs_somebody_to_ask() -> None:
    with pytest.raises(UserError, match="--score-model"):
        open_score(ScoreSource("probability"))
    kinds = [open_score(ScoreSource(kind), Judge()).identity() for kind in ("samples", "probability", "answers")]
    assert all(a != b for a, b in itertools.combinations(map(json.dumps, kinds), 2))
