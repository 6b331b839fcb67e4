"""Personal data out of the training split, and the processes that look for it."""

import json
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("phonenumbers")

from momus.cli import main
from momus.data import personal
from momus.data.personal import Redactor, redact_training
from momus.data.prompts import PromptReport
from momus.records import Message, Prompt, read_jsonl

FOUND = {
    "john.smith@example.com": "EMAIL",
    "kim@회사.한국": "EMAIL",
    "192.168.1.20": "IP_ADDRESS",
    "2001:db8:85a3::8a2e:370:7334": "IP_ADDRESS",
    "4111 1111 1111 1111": "CARD",
    "GB29 NWBK 6016 1331 9268 19": "IBAN",
    "536-90-4399": "US_SSN",
    "900101-1234568": "KR_RESIDENT",
    "900101-5234567": "KR_RESIDENT",
    "+1 212 456 7890": "PHONE",
    "(512) 555-2994": "PHONE",
    "+82 10-1234-5678": "PHONE",
    "010-1234-5678": "PHONE",
    "02-312-3456": "PHONE",
}
LEFT = [
    "4111 1111 1111 1112",
    "9547-822a-8638-4111",
    "GB28 NWBK 6016 1331 9268 19",
    "127.0.0.1",
    "x[1::2]",
    "std::cout",
    "10:20:30",
    "2024-01-02",
    "3.11.2",
    "a@b",
    "1e10",
]


@pytest.fixture(scope="module")
def redactor():
    return Redactor()


@pytest.mark.parametrize(("text", "kind"), FOUND.items())
def test_what_has_a_form_is_found(redactor, text, kind):
    assert redactor.redact(f"Use {text}, please.") == (f"Use [{kind}], please.", Counter([kind]))


@pytest.mark.parametrize("text", LEFT)
def test_what_looks_a_little_like_it_is_left(redactor, text):
    assert redactor.redact(f"Use {text}, please.") == (f"Use {text}, please.", Counter())


pieces = st.lists(st.sampled_from([*FOUND, *LEFT]) | st.text("0123456789abcf:.@-+()/ \n", max_size=12), max_size=5)


@settings(max_examples=60, deadline=None)
@given(pieces, st.sampled_from(["", " ", ", ", "-", "\n"]))
def test_nothing_is_found_twice_and_nothing_else_changes(redactor, parts, between):
    text = between.join(parts)
    clean, counts = redactor.redact(text)
    assert redactor.redact(clean) == (clean, Counter())
    kinds = "|".join({"EMAIL", *FOUND.values()})
    kept = re.split(rf"\[(?:{kinds})\]", clean)
    assert len(kept) - 1 <= counts.total()
    assert re.fullmatch(".*".join(map(re.escape, kept)), text, re.DOTALL)


@settings(max_examples=60, deadline=None)
@given(pieces)
def test_the_quick_look_beforehand_misses_nothing(redactor, parts):
    text, everything = " ".join(parts), re.compile("")
    quick = redactor.find(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(personal, "_KINDS", tuple((kind, everything, *rest) for kind, _, *rest in personal._KINDS))
        patch.setattr(personal, "_DIGITS", everything)
        assert redactor.find(text) == quick


def test_only_the_training_split_is_changed():
    talk = (Message(role="system", content="Be brief."), Message(role="user", content="I am me@example.com"))
    prompts = [
        Prompt(prompt=content, split=split)
        for split in ("train", "valid", "test")
        for content in (talk, "010-1234-5678")
    ]
    done = list(redact_training(prompts))
    assert [prompt for prompt, _ in done[2:]] == prompts[2:]
    assert [counts for _, counts in done] == [{"EMAIL": 1}, {"PHONE": 1}, {}, {}, {}, {}]
    assert [turn.content for turn in done[0][0].prompt] == ["Be brief.", "I am [EMAIL]"]


def rows(path, texts):
    path.write_text("".join(json.dumps({"prompt": text, "user_id": "u1"}) + "\n" for text in texts))
    return str(path)


def test_the_command_says_what_and_where(tmp_path, capsys):
    # All of one user, whose name puts them into the training split.
    path, out = rows(tmp_path / "p.jsonl", ["one", "two me@example.com", "three"]), tmp_path / "out.jsonl"
    assert main(["data", "prompts", path, "--out", str(out)]) == 0
    assert [record.prompt for record in read_jsonl(out, Prompt)] == ["one", "two [EMAIL]", "three"]
    [report] = read_jsonl(tmp_path / "out.report.json", PromptReport)
    assert (report.counts, report.personal) == ({"train": 3}, {"EMAIL": 1})
    assert [(record.place, record.kinds) for record in report.places] == [("p.jsonl:2", {"EMAIL": 1})]
    shown = capsys.readouterr().err
    assert "1 [EMAIL] for personal data" in shown
    assert "1 training prompts with personal data" in shown
    assert main(["data", "prompts", path, "--out", str(out), "--keep-personal"]) == 0
    assert [record.prompt for record in read_jsonl(out, Prompt)] == ["one", "two me@example.com", "three"]
    [report] = read_jsonl(tmp_path / "out.report.json", PromptReport)
    assert (report.personal, report.places) == (None, None)


def test_regions_are_those_named(tmp_path, capsys):
    path, out = rows(tmp_path / "p.jsonl", ["call 010-1234-5678"]), tmp_path / "out.jsonl"
    assert main(["data", "prompts", path, "--out", str(out), "--regions", "US"]) == 0
    assert [record.prompt for record in read_jsonl(out, Prompt)] == ["call 010-1234-5678"]
    capsys.readouterr()
    assert main(["data", "prompts", path, "--out", str(out), "--regions", "Korea"]) == 2
    assert capsys.readouterr().err.startswith("momus: error: no country 'Korea': name it by the two capital letters")


@pytest.mark.slow
def test_several_processes_write_what_one_writes(tmp_path):
    path = rows(tmp_path / "p.jsonl", [f"{i} me{i}@example.com" if i % 3 else f"{i} nothing" for i in range(1300)])
    written = []
    for workers in ("1", "2"):
        out = tmp_path / workers / "out.jsonl"
        options = ["--workers", workers, "--per-user", "2000"]
        assert main(["data", "prompts", path, "--out", str(out), *options]) == 0
        written.append([path.read_bytes() for path in (out, out.with_suffix(".report.json"))])
    assert written[0] == written[1]
    assert written[0][0].count(b"[EMAIL]") == 866
