"""What asking costs: estimates, counts, prices, and a budget that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm.chats.asking import Asking
from momus.lm.chats.costs import OVER_BUDGET, MeteredChat, Prices, describe_estimate, estimate, read_prices
from momus.lm.chats.protocol import Question, Usage
from momus.lm.chats.server import ServerChat
from momus.lm.remote.server import Server
from support.hosted import HostedServer, Said


def chat(say: Said | str = "one two three") -> ServerChat:
    return ServerChat(Server("https://h.test/v1", "m", http_client=HostedServer("vllm", lambda *_: say).transport))


def test_tokens_calls_and_money_are_counted() -> None:
    metered = MeteredChat(chat(), prices=Prices(1.0, 10.0, "EUR"))
    metered.answer([Question.of("a b", 50), Question.of("c", 50)])
    assert metered.usage == Usage(3, 6, 2)
    assert metered.describe_usage().startswith("3 tokens read and 6 written in 2 calls, ")
    assert metered.describe_usage().endswith("s, 0.0001 EUR")


def test_an_estimate_in_words() -> None:
    usage = estimate(chat(), [Question.of("x" * 300, 50)] * 2)
    assert usage == Usage(200, 100, 2)
    assert describe_estimate(usage) == "about 200 tokens to read and at most 100 to write in 2 calls"
    assert describe_estimate(usage, Prices(10_000, 0)).endswith(": at most 2.0000 USD")


def test_what_a_server_does_not_count_is_estimated() -> None:
    server = HostedServer("vllm", first=[(200, {}, {"choices": [{"message": {"content": "yes!"}}]})])
    metered = MeteredChat(ServerChat(Server("https://h.test/v1", "m", http_client=server.transport)))
    (answer,) = metered.answer([Question.of("abcdef", 50)])
    assert answer.usage == metered.usage == Usage(2, 2, 1) and metered.describe_usage().startswith("about 2 tokens")


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(3, 40)), max_size=12), st.integers(0, 300))
def test_a_budget_is_kept_and_says_what_was_not_asked(sizes: list[tuple[int, int]], budget: int) -> None:
    metered = MeteredChat(chat(), budget)
    answers = metered.answer([Question.of("x" * size, most) for size, most in sizes])
    assert metered.usage.tokens <= budget
    done = [answer for answer in answers if not answer.problem]
    assert [bool(answer.problem) for answer in answers] == sorted(bool(answer.problem) for answer in answers)
    assert metered.unasked == len(sizes) - len(done)
    if metered.unasked:
        assert answers[-1].problem == OVER_BUDGET and answers[-1].refused
        size, most = sizes[len(done)]
        assert metered.usage.tokens + -(-size // 3) + most > budget
        assert f"; {metered.unasked} question" in metered.describe_usage()


def test_prices_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('["gpt-5-mini"]\nread = 0.25\nwritten = 2\n\n[b]\nread = -1\nwritten = 1\n\n[c]\nread = 1\n')
    assert read_prices(path, "gpt-5-mini") == Prices(0.25, 2) and read_prices(path, "other") is None
    for model, message in (("b", "read: is -1"), ("c", "needs read and written")):
        with pytest.raises(UserError, match=message):
            read_prices(path, model)
    path.write_text("a = [")
    with pytest.raises(UserError, match="not TOML"):
        read_prices(path, "a")


def test_what_is_put_around_a_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOMUS_CACHE", str(tmp_path / "answers.sqlite"))
    prices = tmp_path / "prices.toml"
    prices.write_text("[m]\nread = 1\nwritten = 1\n")
    questions = [Question.of("a", 50), Question.of("b", 50), Question.of("a", 50)]
    first = Asking(prices=prices)
    around = first.around(chat())
    assert first.describe_estimate(questions) == (
        "about 2 tokens to read and at most 100 to write in 2 calls: at most 0.0001 USD"
    )
    around.answer(questions)
    assert first.describe_usage().startswith("2 tokens read and 6 written in 2 calls")
    second = Asking()
    second.around(chat()).answer(questions)
    assert second.describe_estimate(questions) == "" and second.describe_usage().endswith(
        "; 3 answers out of the cache"
    )
    third = Asking(cache=False, budget=56)
    answers = third.around(chat()).answer(questions)
    assert [bool(answer.problem) for answer in answers] == [False, False, True]
    assert third.describe_usage().endswith("; 1 question was not asked: the budget is 56 tokens")
    assert Asking().describe_usage() == "" and Asking().describe_estimate(questions) == ""


def test_what_cannot_be_put_around_a_chat_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOMUS_CACHE", str(tmp_path))
    (tmp_path / "prices.toml").write_text("")
    for use, message in (
        (lambda: Asking(budget=0), "--budget-tokens 0"),
        (lambda: Asking(prices=tmp_path / "prices.toml").around(chat()), r"has no prices of 'm': add a table \["),
        (lambda: Asking().around(chat()), "answers cannot be kept there: Is a directory; or go without it: --no-cache"),
    ):
        with pytest.raises(UserError, match=message):
            use()
