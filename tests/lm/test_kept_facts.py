"""What a local model's answers are kept by needs no model: a second review of the same code loads nothing."""

import copy
import json
import os
import subprocess
import sys

import pytest

from momus.cli import main
from momus.lm.chats.cache import AnswerCache, CachedChat
from momus.lm.chats.costs import MeteredChat
from momus.lm.chats.local import LocalChat
from momus.lm.chats.protocol import Answer, Question
from support.tiny import tiny_engine

CODE = "def f(items):\n    total = 0\n    for x in items:\n        total += x\n    return total\n"


@pytest.fixture
def folder(tmp_path):
    engine = tiny_engine()
    engine.model.save_pretrained(tmp_path / "m")
    tokenizer = copy.deepcopy(engine.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def cached(folder, path):
    return CachedChat(MeteredChat(LocalChat(str(folder))), AnswerCache(path))


def test_identity_and_counts_are_those_of_the_model_itself(folder, tmp_path):
    question = Question.of("Total?", 4)
    plain = LocalChat(str(folder))
    for _ in range(2):
        chat = cached(folder, tmp_path / "answers.sqlite")
        assert dict(chat.identity()) == dict(plain.identity())
        assert chat.count(question.messages) == plain.count(question.messages)


def test_a_model_that_changed_is_asked_anew(folder, tmp_path):
    before = cached(folder, tmp_path / "answers.sqlite")
    first, signature = dict(before.identity()), before.signature()
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)  # of the same size
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    after = cached(folder, tmp_path / "answers.sqlite")
    assert after.signature() != signature and dict(after.identity()) != first
    assert LocalChat(str(folder), "cpu").signature() != LocalChat(str(folder), "cpu", "bf16").signature()


def test_a_second_review_loads_neither_a_model_nor_a_tokenizer(folder, tmp_path, monkeypatch, capsys):
    code = tmp_path / "code.py"
    code.write_text(CODE)
    arguments = ["review", str(code), "--model", str(folder), "--kind", "prompted", "--pointer", "none", "--json"]
    monkeypatch.setattr(LocalChat, "answer", lambda self, questions: [Answer('{"comments": []}')] * len(questions))
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    script = (
        "import sys; from momus.cli import main\n"
        f"code = main({arguments!r})\n"
        "print(code, sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)), file=sys.stderr)"
    )
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert second.stderr.endswith(("0 []\n", "0 ['torch']\n")), second.stderr
    assert json.loads(second.stdout)["files"] == first["files"]


def test_what_is_no_model_is_still_one_line(tmp_path, capsys):
    code = tmp_path / "code.py"
    code.write_text(CODE)
    (tmp_path / "empty").mkdir()
    assert main(["review", str(code), "--model", str(tmp_path / "empty"), "--kind", "prompted"]) == 2
    assert len(capsys.readouterr().err.strip().split("\n")) == 1
