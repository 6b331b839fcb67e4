"""Critics with a pointer: which lines the model is asked about, what it may write, the dial, and where pointers are."""

import copy
import json
import math
import os
import shutil
from dataclasses import replace
from random import Random
from unittest.mock import Mock

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from momus.cli import main
from momus.cli.shared.options import ReviewerOptions
from momus.critics import pointed, small
from momus.critics.critic import CONFIDENCE, narrowed, usual_setting
from momus.critics.open import open_at_setting, open_critic
from momus.critics.pointed import (
    LEAST,
    LINES,
    OneComment,
    PointedCritic,
    find_pointer,
    likeliest_lines,
)
from momus.critics.prompted import PromptedConfig, PromptedCritic, write_prompt
from momus.critics.refine import RememberingCritic
from momus.critics.scores.critic import ScoredCritic
from momus.critics.scores.share import SampleShare
from momus.critics.second_opinion import SecondOpinionCritic
from momus.critique import lines_of
from momus.errors import UserError
from momus.lm.chats.local import LocalChat
from momus.lm.chats.protocol import Answer
from momus.lm.constraint import Vocabulary
from momus.lm.models import save_causal_lm
from momus.lm.pointers import LINE_POINTER_FILE, SHIPPED_POINTERS
from momus.lm.pointers.line_pointer import BaseIdentity, HeadShape, LineHead, LinePointer
from momus.lm.pointers.line_states import Reads
from momus.lm.tiny import TINY
from momus.records import Task
from momus.search import lines as weighing
from momus.search.fixes import Fix
from momus.search.lines import WEIGHT
from momus.search.result import RewardSource
from support.tiny import llama, tiny_tokenizer

CODE = "def f(xs):\n    total = 0\n\n    for x in xs:\n        total += x\n    return total / len(xs)"
TASK = Task(id="f", question="Return the mean.", answer=CODE)
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pointed") / "base"
    tokenizer = copy.deepcopy(tiny_tokenizer())
    model = llama(vocab=len(tokenizer))
    model.config.max_position_embeddings = 4096
    tokenizer.chat_template = TEMPLATE
    save_causal_lm(model, folder, tokenizer)
    return folder


@pytest.fixture(scope="module")
def pointer(base):
    """A pointer's file, not beside the model."""
    tokenizer, model = tiny_tokenizer(), llama(vocab=len(tiny_tokenizer()))
    torch.manual_seed(0)
    head = LineHead(HeadShape(32, Reads((1, 2)), width=16))
    path = base.parent / "run" / "pointer" / LINE_POINTER_FILE
    LinePointer([head], BaseIdentity.of("base", model.config, tokenizer)).save(path)
    return path


class Scripted:
    """Answers about the line that is asked about."""

    name = "scripted"

    def __init__(self):
        self.asked = []

    def identity(self):
        return {"model": "scripted"}

    def count(self, messages):
        return 10

    def answer(self, questions):
        lines = [int(question.messages[0].content.rsplit("line ", 1)[1].split("?")[0]) for question in questions]
        self.asked += lines
        quotes = [CODE.split("\n")[line - 1].strip() for line in lines]
        comments = [
            {"line": line, "quote": quote, "severity": "error", "problem": f"Wrong at {line}."}
            for line, quote in zip(lines, quotes, strict=True)
        ]
        return [Answer(json.dumps({"comments": [comment]})) for comment in comments]


def critic_of(base, pointer, chat=None, odds=None, least_gain=math.inf):
    """A critic whose words are the model's, unless a gain is given; the odds are those that the dial goes by."""
    critic = PointedCritic(LocalChat(str(base), "cpu", "fp32"), pointer, chat, least_gain=least_gain)
    if odds is not None:
        critic._pointer.line_log_odds = lambda read: [tuple(odds)] * len(read)
    return critic


def test_a_second_opinion_leaves_the_dial_where_a_pointed_critic_has_it_and_a_score_does_not(base, pointer):
    pointed = critic_of(base, pointer)
    assert usual_setting(pointed.dial) == 0.5
    assert usual_setting(SecondOpinionCritic(RememberingCritic(pointed), Scripted()).dial) == 0.5
    assert usual_setting(ScoredCritic(pointed, SampleShare()).dial) == CONFIDENCE


@pytest.mark.parametrize("seed", range(12))
def test_a_critic_for_one_setting_shows_the_same_and_asks_about_nothing_else(base, pointer, monkeypatch, seed):
    draw = Random(seed)
    odds = [draw.uniform(-4, 4) if line.strip() else -math.inf for line in CODE.split("\n")]
    setting = draw.random()
    gained = {line: draw.uniform(-8, 12) for line in range(1, 7)}
    fixes = {line: Fix(f"    line = {line}", gain) for line, gain in gained.items() if draw.random() < 0.7}
    monkeypatch.setattr(weighing, "find_fixes", lambda *given: [fixes.get(place.line) for place in given[2]])
    least_gain = draw.choice([1.0, math.inf])
    whole, narrow = Scripted(), Scripted()
    critic = critic_of(base, pointer, whole, odds, least_gain)
    one = critic_of(base, pointer, narrow, odds, least_gain).narrowed(setting)
    (all_of_it,), (some,) = critic.write([TASK]), one.write([TASK])
    shown = critic.dial.choose(all_of_it, CODE, setting).comments
    assert one.dial.choose(some, CODE, setting).comments == shown
    assert set(narrow.asked) <= set(whole.asked)
    lines = {CODE.count("\n", 0, comment.span.start) + 1 for comment in shown}
    assert set(narrow.asked) <= lines, "what is hidden was asked about"
    assert one.identity() == critic.identity() or setting > LEAST
    assert critic.narrowed(0.0).identity() == critic.identity()


def test_nobody_argues_about_what_is_hidden_at_a_setting(base, pointer, monkeypatch):
    argued = []
    monkeypatch.setattr(
        "momus.critics.second_opinion.argue",
        lambda second, defender, prompts, config: argued.append(len(prompts)) or [(1.0, "")] * len(prompts),
    )
    odds = [-9.0, 3.0, -math.inf, -1.0, -9.0, -9.0]
    critic = SecondOpinionCritic(critic_of(base, pointer, Scripted(), odds), Scripted())
    (everything,), (some,) = critic.write([TASK]), narrowed(critic, 0.5).write([TASK])
    assert argued == [2, 1]
    assert critic.dial.choose(some, CODE, 0.5).comments == critic.dial.choose(everything, CODE, 0.5).comments
    assert len(some.candidates[0].critique.comments) == 1


def test_a_review_at_a_setting_asks_from_there_and_a_measurement_everything(base, pointer):
    for confidence, least in ((None, 0.5), (0.3, 0.3), (0.0, LEAST)):
        critic, _, _ = open_at_setting(base, RewardSource(), confidence, None, None, pointer=str(pointer))
        assert critic._least == least
    assert open_critic(base, pointer=str(pointer))._least == LEAST


def test_what_is_far_too_long_does_not_fit(base, pointer):
    assert not critic_of(base, pointer).fits(TASK.model_copy(update={"answer": "x = 1\n" * 1_000_000}))


def test_likely_lines_are_asked_about_with_their_probabilities():
    assert likeliest_lines([-math.inf, 0.0, 2.0, -1.0]) == {3: pytest.approx(1 / (1 + math.exp(-2))), 2: 0.5}
    assert likeliest_lines([-9.0, -math.inf, -8.0]) == {}
    assert len(likeliest_lines([3.0] * 9)) == LINES and 1 / (1 + math.exp(3)) < LEAST < 0.5


def test_comments_are_scored_by_the_pointer_and_the_dial_goes_by_it(base, pointer):
    chat = Scripted()
    critic = critic_of(base, pointer, chat, (-5.0, 0.0, -math.inf, -4.0, -1.0, 3.0))
    (written,) = critic.write([TASK])
    assert chat.asked == [6, 2]
    (candidate,) = written.candidates
    assert candidate.scores == (pytest.approx(1 / (1 + math.exp(-3))), 0.5)
    lines = {
        s: [lines_of(c.span, CODE)[0] + 1 for c in critic.dial.choose(written, CODE, s).comments] for s in (0.4, 0.6, 1)
    }
    assert lines == {0.4: [6, 2], 0.6: [6], 1: []}


ODDS = (-5.0, 0.0, -math.inf, -4.0, -1.0, 3.0)


def test_an_edit_that_gains_enough_is_proposed_and_the_model_is_asked_about_the_others(base, pointer, monkeypatch):
    tried = []

    def find(model, tokenizer, places):
        tried.extend(place.line for place in places)
        return [Fix("return total / 2", 2.5) if place.line == 6 else Fix("x", 1.9) for place in places]

    monkeypatch.setattr(weighing, "find_fixes", find)
    chat = Scripted()
    (written,) = critic_of(base, pointer, chat, ODDS, 2.0).write([TASK])
    assert sorted(tried) == [2, 4, 5, 6] and chat.asked == [2]
    first, second = written.candidates[0].critique.comments
    assert (first.line, first.text) == (6, "Should be `return total / 2`.") and second.text == "Wrong at 2."
    odds = [3.0 + 2.5 * WEIGHT, 1.9 * WEIGHT]
    assert written.candidates[0].scores == tuple(pytest.approx(1 / (1 + math.exp(-each))) for each in odds)


def test_what_an_edit_gains_moves_the_lines(base, pointer, monkeypatch):
    gains = {2: -2.0, 4: 9.0, 5: 8.0, 6: -5.0}
    monkeypatch.setattr(weighing, "find_fixes", lambda *given: [Fix("x", gains[place.line]) for place in given[2]])
    critic = critic_of(base, pointer, Scripted(), (-9.0, 0.0, -math.inf, 0.1, -1.5, 0.2), 99.0)
    (written,) = critic.write([TASK])
    assert [comment.line for comment in written.candidates[0].critique.comments] == [4, 5]


def test_what_is_no_python_is_pointed_to_as_before(base, pointer):
    code = "let total = 0;\nfor (const x of xs) { total += x; }\nreturn total;"
    task, odds = TASK.model_copy(update={"answer": code}), [(0.0, 2.0, 1.0)]
    with_edits, without = (critic_of(base, pointer, least_gain=gain) for gain in (0.0, math.inf))
    assert with_edits._point([task], odds) == without._point([task], odds)
    assert with_edits.identity() != without.identity()


def test_nothing_likely_is_no_problem_found_and_nobody_is_asked(base, pointer):
    chat = Scripted()
    (written,) = critic_of(base, pointer, chat, (-9.0,) * 6).write([TASK])
    assert chat.asked == [] and written.candidates[0].critique.comments == () and not written.problem


def test_an_answer_that_cannot_be_had_says_why(base, pointer):
    chat = Scripted()
    chat.answer = lambda questions: [Answer("", "busy") for _ in questions]
    (written,) = critic_of(base, pointer, chat, (0.0,) * 6).write([TASK])
    assert written.candidates == () and written.problem == "busy"


def test_the_model_itself_writes_one_comment_on_the_line_it_is_pointed_to(base, pointer):
    critic = critic_of(base, pointer, odds=(-9.0, -9.0, -math.inf, -9.0, 1.0, -9.0))
    critic._config = PromptedConfig(max_tokens=400)
    (written,) = critic.write([TASK])
    if written.candidates:  # a random model may write to the limit
        (comment,) = written.candidates[0].critique.comments
        assert comment.highlight == "total += x" and comment.line == 5
    else:
        assert written.problem


def test_the_constraint_allows_one_comment_on_one_line_and_no_empty_list():
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    constraint = OneComment(CODE, 5, vocabulary, frozenset({2}))

    def reads(text):
        state = constraint.start()
        for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
            if token not in constraint.allowed(state):
                return False
            state = constraint.advance(state, token)
        return True

    good = '{"comments": [{"line": 5, "quote": "total += x", "severity": "error", "problem": "Off."}'
    assert reads(good + "]}")
    assert not reads('{"comments": []}')
    assert not reads('{"comments": [{"line": 6')
    assert not reads(good + ", {")


def test_a_pointer_is_found_by_name_beside_the_model_or_shipped(base, pointer, monkeypatch, tmp_path):
    run = pointer.parent.parent
    assert {find_pointer(str(base), str(place)) for place in (pointer, pointer.parent, run)} == {pointer}
    assert find_pointer(str(base), None) is None and find_pointer(str(base), "none") is None
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent)
    assert find_pointer(str(base), None) == pointer
    assert find_pointer(str(base), "none") is None
    beside = base / LINE_POINTER_FILE
    beside.write_bytes(pointer.read_bytes())
    try:
        assert find_pointer(str(base), None) == beside
        critic, setting, _ = open_at_setting(base, RewardSource(), None, None, None)
        assert isinstance(critic, PointedCritic) and setting == 0.5
        assert critic.fits(TASK) and critic.identity()["kind"] == "pointed"
        assert not isinstance(open_critic(base, pointer="none"), PointedCritic)
    finally:
        beside.unlink()
    assert isinstance(open_critic(base, pointer="none"), PromptedCritic)


@pytest.fixture
def adapter(base, tmp_path):
    """An adapter over the base that changes its states much."""
    adapted = get_peft_model(llama(vocab=len(tiny_tokenizer())), LoraConfig(r=2, target_modules="all-linear"))
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(tmp_path / "adapter")
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / file, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_pointer_reads_the_base_of_an_adapter_which_is_asked_as_it_was_trained(base, pointer, adapter, monkeypatch):
    """The shipped pointer serves every adapter over its base: where to look is the same with and without it."""
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent)
    assert find_pointer(str(adapter), None) == pointer
    plain, adapted = critic_of(base, pointer), open_critic(adapter, device="cpu", precision="fp32")
    assert isinstance(adapted, PointedCritic)
    pair = [(TASK.question, TASK.answer)]
    (before,), (after,) = plain._reader.read(pair), adapted._reader.read(pair)
    torch.testing.assert_close(after.states, before.states, rtol=0, atol=0)
    rows = torch.tensor([plain._model.loaded.engine.tokenizer(CODE)["input_ids"]])
    logits = [critic._model.loaded.engine.model(rows).logits for critic in (plain, adapted)]
    assert (logits[0] - logits[1]).abs().max() > 1e-3, "it is on again"
    assert adapted._message(TASK, 3).content == write_prompt(TASK)
    assert plain._message(TASK, 3).content != write_prompt(TASK)
    assert adapted.identity() != plain.identity()


def test_questions_about_different_lines_are_different_to_a_cache(base, pointer, adapter):
    """The prompt of a model with an adapter names no line: the first answer may not be taken for the second."""
    for folder in (base, adapter):
        critic = critic_of(folder, pointer)
        asked = [critic._question_about(TASK, line) for line in (2, 5)] + PromptedCritic(critic.chat).questions([TASK])
        assert len({question.digest for question in asked}) == 3


def test_a_pointer_may_lie_beside_the_base_of_an_adapter(base, pointer, adapter):
    beside = base / LINE_POINTER_FILE
    beside.write_bytes(pointer.read_bytes())
    try:
        assert find_pointer(str(adapter), None) == beside
    finally:
        beside.unlink()
    assert find_pointer(str(adapter), None) is None


def test_what_is_remembered_of_an_adapter_lapses_with_its_base(base, adapter):
    signature = LocalChat(str(adapter), "cpu", "fp32").signature()
    weights = base / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert LocalChat(str(adapter), "cpu", "fp32").signature() != signature


@pytest.mark.parametrize("which", ["base", "adapter"])
def test_code_that_did_not_change_is_not_read_again(base, pointer, tmp_path, monkeypatch, capsys, request, which):
    """Unless what the critic is given, or asked for, is more than the code."""
    model, code, copied = request.getfixturevalue(which), tmp_path / "code.py", tmp_path / "run" / LINE_POINTER_FILE
    code.write_text(CODE + "\n", encoding="utf-8")
    copied.parent.mkdir()
    shutil.copy(pointer, copied)
    opened = []

    def counted(*given, **named):
        opened.append(1)
        return open_at_setting(*given, **named)

    monkeypatch.setattr("momus.critics.open.open_at_setting", counted)

    def review(*words):
        here = ("--model", str(model), "--pointer", str(copied.parent), "--confidence", "0", "--json")
        assert main(["review", str(code), *here, *words]) == 0
        shown = capsys.readouterr()
        findings = json.loads(shown.out)["files"][0]["findings"]
        return [{**finding, "status": ""} for finding in findings], shown.err

    first, told = review()
    assert first and len(opened) == 1 and "tokens to read" in told
    assert review() == (first, "") and len(opened) == 1
    others = (["--budget-tokens", "100000"], ["--context", "200"], ["--about", "Totals."], ["--no-cache"])
    for count, more in enumerate(others, 2):
        assert review(*more)[0] and len(opened) == count
    assert review()[0] == first and len(opened) == 5
    other = LinePointer.load(pointer)
    torch.nn.init.zeros_(other.heads[0].score[1].weight)
    other.save(copied)
    review()
    assert len(opened) == 6
    code.write_text(CODE + "\n\n\n" + CODE.replace("def f", "def g") + "\n", encoding="utf-8")
    review()
    assert len(opened) == 7
    os.utime(base / "model.safetensors")
    review()
    assert len(opened) == 8


def test_mistakes_are_one_line(base, pointer, tmp_path, capsys):
    (tmp_path / "code.py").write_text(CODE + "\n", encoding="utf-8")
    other = tmp_path / "other.safetensors"
    loaded = LinePointer.load(pointer)
    LinePointer(list(loaded.heads), loaded.base._replace(name="another", tokens="")).save(other)
    (tmp_path / "damaged").write_bytes(b"no pointer")

    def review(*words):
        code = main(["review", str(tmp_path / "code.py"), *map(str, words)])
        return code, capsys.readouterr().err.strip().split("\n")[-1].removeprefix("momus: error: ")

    here = ("--model", base, "--pointer")
    assert review(*here, other)[1].startswith(
        f"the pointer {other} was trained on another, and {base} is another model"
    )
    assert review(*here, tmp_path / "nowhere") == (
        2,
        f"--pointer {tmp_path / 'nowhere'}: there is no {LINE_POINTER_FILE}",
    )
    assert "cannot load the pointer" in review(*here, tmp_path / "damaged")[1]
    assert "--samples is for a critic without a pointer" in review(*here, pointer, "--samples", 3)[1]
    assert "--pointer is for models that are prompted" in review("--pointer", pointer)[1]
    with pytest.raises(UserError, match="a server does not give them"):
        from momus.critics.open import _put_pointer

        _put_pointer(Scripted(), Scripted(), None, str(pointer))


def test_the_small_critic_is_a_model_of_others_and_the_pointer_that_ships(base, monkeypatch, tmp_path, capsys, caplog):
    assert ReviewerOptions(critic="small").model == small.BASE
    assert ReviewerOptions(critic="small", model=str(base)).model == str(base)
    with pytest.raises(UserError, match="--critic small has a pointer of its own"):
        ReviewerOptions(critic="small", url="http://localhost:1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    small.say_what_is_fetched(str(base))
    assert not caplog.records
    small.say_what_is_fetched(small.BASE)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"fetching {small.BASE} from the Hugging Face hub, once: 1.0 GB, licence Apache-2.0")


def test_the_small_critic_puts_its_adapter_over_its_own_base_alone(base, pointer, adapter, monkeypatch, tmp_path):
    monkeypatch.setattr("momus.critics.open.ADAPTER", adapter)
    options = ReviewerOptions(critic="small", model=str(base), device="cpu", precision="fp32")
    for other in (options, ReviewerOptions(critic="small", model=str(TINY))):
        with pytest.raises(UserError, match="is another model: leave --critic out"):
            other.open()
    copied = shutil.copytree(base, tmp_path / "copied")
    loaded = LinePointer.load(pointer)
    LinePointer(list(loaded.heads), loaded.base._replace(tokens="another model's")).save(copied / LINE_POINTER_FILE)
    options = replace(options, model=str(copied))
    identified = Mock(wraps=pointed._identify)
    monkeypatch.setattr(pointed, "_identify", identified)
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent)
    critic = options.open()
    assert identified.call_count == 1
    named = open_critic(adapter, device="cpu", precision="fp32")
    assert isinstance(critic, PointedCritic) and isinstance(named, PointedCritic)
    rows = torch.tensor([named._model.loaded.engine.tokenizer(CODE)["input_ids"]])
    logits = [one._model.loaded.engine.model(rows).logits for one in (critic, named)]
    torch.testing.assert_close(*logits, rtol=0, atol=0)
    assert critic._message(TASK, 3) == named._message(TASK, 3)
    bare = ReviewerOptions(model=str(base), device="cpu", precision="fp32").open()
    assert len({json.dumps(one.identity()) for one in (critic, named, bare)}) == 3


def test_the_adapter_that_ships_is_whole_small_and_has_a_card():
    config = json.loads((small.ADAPTER / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(small.ADAPTER / "adapter_model.safetensors")
    assert config["base_model_name_or_path"] == small.BASE and config["inference_mode"]
    assert {name.rsplit(".", 3)[1] for name in tensors} <= set(config["target_modules"])
    for name, tensor in tensors.items():
        assert config["r"] in tensor.shape and tensor.isfinite().all() and tensor.any(), name
    assert sum(file.stat().st_size for file in small.ADAPTER.iterdir()) < 10e6
    assert small.BASE.split("/")[1] in (small.ADAPTER / "README.md").read_text(encoding="utf-8")


def test_every_pointer_that_ships_is_whole_small_and_has_a_card():
    files = sorted(SHIPPED_POINTERS.glob("*.safetensors"))
    assert files
    for file in files:
        assert file.stat().st_size < 10e6
        pointer = LinePointer.load(file)
        assert pointer.base.name in file.with_suffix(".md").read_text(encoding="utf-8")
