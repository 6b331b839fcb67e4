"""The shipped critic: several reviews of the same code, merged by how many of them agree."""

import itertools
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.critics.trained import VotingConfig, VotingCritic
from momus.critique import Comment, Critique, anchor, lines_of
from momus.lm.constraint import quotable_texts
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm, load_tokenizer, model_digest
from momus.lm.tiny import TINY
from momus.records import Task
from momus.search.candidates import CandidateScorer, zero_reward
from momus.search.majority import merge_by_majority
from momus.search.result import EncodedTask

ANSWER = "def f(a, b):\n    c = a - b\n    d = a * b\n    return c + d"
LINES = [line.strip() for line in ANSWER.split("\n")]

comments = st.builds(
    lambda line, text: Comment(highlight=line, text=text, span=anchor(line, ANSWER)),
    st.sampled_from([*LINES, "not there"]),
    st.sampled_from(["wrong", "odd"]),
)
critiques = st.lists(st.builds(lambda c: Critique(comments=tuple(c)), st.lists(comments, max_size=3)), max_size=8)


@given(critiques, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_line_is_kept_exactly_when_enough_reviews_quote_it(critiques, confidence):
    merged = merge_by_majority(critiques, ANSWER, confidence)
    votes = Counter(line for critique in critiques for line in {c.highlight for c in critique.anchored})
    expected = [line for line in LINES if line in votes and votes[line] >= confidence * len(critiques)]
    assert [comment.highlight for comment in merged.comments] == expected


@given(critiques)
def test_asking_for_more_confidence_only_takes_comments_away(critiques):
    kept = [set(merge_by_majority(critiques, ANSWER, share).comments) for share in (0.0, 0.3, 0.6, 1.0)]
    assert all(more >= less for more, less in itertools.pairwise(kept))


REPEATED = "if a:\n    x = 1\n    y = 2\nelse:\n    x = 1\n    y = 2\nx = 1"
NUMBERED = list(quotable_texts(REPEATED))


@given(st.lists(st.sampled_from(NUMBERED), min_size=1, max_size=12), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_votes_about_different_lines_of_the_same_text_are_not_pooled(quotes, share):
    """Each vote is a critique that quotes one line as the constraint makes it."""
    task = EncodedTask((1,), REPEATED)
    scorer = CandidateScorer(SimpleNamespace(decode=lambda tokens: texts[tokens[0]]), zero_reward, [task])
    texts = [f"```\n{text}\n```\nWrong." for _, text in quotes]
    (candidates,) = scorer([[(i,) for i in range(len(texts))]])
    merged = merge_by_majority([candidate.critique for candidate in candidates], REPEATED, share)
    votes = Counter(number for number, _ in quotes)
    expected = [number for number in sorted(votes) if votes[number] >= share * len(quotes)]
    assert [lines_of(comment.span, REPEATED)[0] for comment in merged.comments] == expected
    assert [comment.highlight for comment in merged.comments] == [
        REPEATED.split("\n")[number].strip() for number in expected
    ]


@pytest.fixture(scope="module")
def critic():
    engine = LocalEngine(load_causal_lm(TINY), load_tokenizer(TINY))
    return VotingCritic(engine, model_digest(TINY), VotingConfig(samples=4, max_tokens=60))


def test_the_shipped_critic_quotes_verbatim_and_does_not_depend_on_other_tasks(critic):
    tasks = [Task(id="f", question="", answer=ANSWER), Task(id="g", question="", answer=ANSWER.replace("f(", "gg("))]
    first, _ = critic.write(tasks)
    comments = critic.dial.choose(first, ANSWER, 0.0).comments
    assert comments and all(comment.span and lines_of(comment.span, ANSWER) for comment in comments)
    assert critic.write(tasks[:1]) == [first] == critic.write(tasks[::-1])[1:]


def test_a_task_that_is_too_long_does_not_fit(critic):
    assert critic.fits(Task(id="f", question="", answer=ANSWER))
    assert not critic.fits(Task(id="f", question="", answer=ANSWER * 40))
