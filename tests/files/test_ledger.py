"""Ledgers: cut anywhere they keep what was whole, are one run's and one process's, and no other file is touched."""

from __future__ import annotations

import errno
import io
import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.files import Ledger


@given(st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=2), max_size=5), st.integers(0, 60))
@settings(max_examples=40)
def test_a_ledger_cut_anywhere_keeps_what_was_whole(tmp_path_factory, results, cut):
    path = tmp_path_factory.mktemp("ledger") / "l.jsonl"
    with Ledger(path, {"seed": 1}) as ledger:
        for key, value in results.items():
            ledger.add({key: value})
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)])
    whole = max(0, data[: max(0, len(data) - cut)].count(b"\n") - 1)
    with Ledger(path, {"seed": 1}) as ledger:
        assert dict(ledger) == dict(list(results.items())[:whole])
        ledger.add({key: value for key, value in results.items() if key not in ledger})
    with Ledger(path, {"seed": 1}) as ledger:
        assert dict(ledger) == results


def test_a_ledger_is_one_run_s_and_one_process_s(tmp_path):
    path = tmp_path / "l.jsonl"
    with Ledger(path, {"model": "a", "seed": 1}), pytest.raises(UserError, match="another command is at work"):
        Ledger(path, {"model": "a", "seed": 1})
    with pytest.raises(UserError, match=r"other settings \(model 'a' -> 'b'\)"):
        Ledger(path, {"model": "b", "seed": 1})


@given(
    st.lists(st.sampled_from(['{"a": 1}', '{"settings": {"seed": 1}}', '{"settings": {"x": 2}}', "no JSON", "[1]"])),
    st.sampled_from(["\n", ", "]),
    st.text(max_size=5),
)
@settings(max_examples=60)
@example([], "\n", '{"prompt": "mine", "answer": "no newline at the end"}')
@example(['{"a": 1}', '{"b": 2}'], "\n", '{"important": 3}')
@example(['{"settings": {"seed": 1}}', '{"key": "k", "value": 1}', '{"b": 2}'], "\n", "not whole")
def test_a_file_that_is_no_ledger_of_these_settings_is_left_as_it_is(tmp_path_factory, lines, between, last):
    path = tmp_path_factory.mktemp("ledger") / "answers.jsonl"
    path.write_bytes(between.join([*lines, last]).encode())
    before = path.read_bytes()
    try:
        with Ledger(path, {"seed": 1}) as ledger:
            assert not ledger or before.startswith(b'{"settings": {"seed": 1}}')
    except UserError as error:
        assert path.read_bytes() == before and str(path) in str(error)
    else:
        # Its own first line, whole or not, is all that lets a file pass, and whole lines stay.
        first = b'{"settings": {"seed": 1}}\n'
        assert before.startswith(first) or first.startswith(before)
        assert path.read_bytes() == max(before[: before.rfind(b"\n") + 1], first)


def test_settings_of_any_length_are_told_in_a_short_line(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"settings": {"s" * 5000: "v" * 5000}}) + "\n")
    with pytest.raises(UserError, match="was started with other settings") as refused:
        Ledger(path, {"seed": 1})
    assert len(str(refused.value)) < 1000


def test_a_ledger_cut_at_every_byte_goes_on_to_the_same_file(tmp_path):
    path, results = tmp_path / "l.jsonl", {"a": [1, "\u2028"], "b": None, "c": {"값": math.inf}}
    with Ledger(path, {"seed": 1, "of": "ä"}) as ledger:
        for key, value in results.items():
            ledger.add({key: value})
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with Ledger(path, {"seed": 1, "of": "ä"}) as ledger:
            assert list(ledger.items()) == list(results.items())[: len(ledger)]
            ledger.add({key: value for key, value in results.items() if key not in ledger})
        assert path.read_bytes() == data


@pytest.mark.parametrize("fits", range(0, 40, 3))
def test_a_disk_that_is_full_for_a_while_costs_the_ledger_nothing(tmp_path, monkeypatch, fits):
    path = tmp_path / "l.jsonl"
    with Ledger(path, {}) as ledger:
        ledger.add({"a": 1})
        before, whole = path.read_bytes(), ledger._file

        class Full(io.FileIO):
            """Takes `fits` more bytes."""

            left = fits

            def write(self, data):
                if not self.left:
                    raise OSError(errno.ENOSPC, "No space left on device")
                taken = data[: self.left]
                self.left -= len(taken)
                return super().write(taken)

        with Full(path, "r+b") as full, monkeypatch.context() as patch:
            full.seek(0, io.SEEK_END)
            patch.setattr(ledger, "_file", full)
            with pytest.raises(UserError, match="no space left on the disk"):
                ledger.add({"b": "x" * 40, "c": 3})
        assert ledger._file is whole and "b" not in ledger
        assert path.read_bytes() == before
        ledger.add({"b": 2})
    with Ledger(path, {}) as ledger:
        assert dict(ledger) == {"a": 1, "b": 2}
