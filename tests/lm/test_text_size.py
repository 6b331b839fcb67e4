"""What is certainly too long is told from its bytes: nothing of it reaches a tokenizer, whichever command reads it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

import momus
from momus.cli.feedback import _counter
from momus.critics.prompted import PromptedCritic
from momus.critics.shard import CritiqueConfig, Shard, ShardCritic
from momus.critics.trained import FencedWriter, SearchCritic, VotingCritic
from momus.errors import UnfitInputError
from momus.evaluate.instruct.questions import Questions
from momus.files import Ledger
from momus.lm.chat import ChatFormat, Limits
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.server import ServerChat
from momus.lm.local.load import load_local_engine
from momus.lm.text import encode
from momus.lm.text.encode import Encoder, TooLongError
from momus.lm.tiny import TINY
from momus.records import Demonstration, Message, Prompt, Ranking, Task
from momus.search.candidates import zero_reward
from momus.search.rain.judge import encode_plain
from momus.train.settings import TextConfig
from momus.train.texts import demonstrations, pretraining, prompts, rankings
from support.tiny import tiny_engine, tiny_tokenizer

HUGE = "def f(total): return total + 1\n" * 400_000  # 12 MB
NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def byte_level(normalizer: normalizers.Normalizer | None = None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator([HUGE[:1000], "  " * 40, "각각 " * 20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def sentencepiece() -> PreTrainedTokenizerFast:
    """As Llama 2's: spaces are ▁, and bytes stand for unknown characters."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {piece: number for number, piece in enumerate(["<unk>", *pieces, "▁", "a", "▁a", "aa", "▁▁"])}
    merges = [("▁", "a"), ("a", "a"), ("▁", "▁")]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def word_pieces() -> PreTrainedTokenizerFast:
    """As BERT's: spaces and control characters go, and a word may be unknown as a whole."""
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##a": 2}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def space_eater() -> PreTrainedTokenizerFast:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<x>", lstrip=True, rstrip=True, special=True)])
    return tokenizer


TOKENIZERS = {
    "byte level": byte_level(), "few bytes": tiny_tokenizer(), "SentencePiece": sentencepiece(),
    "word pieces": word_pieces(), "space eater": space_eater(),
    **{form: byte_level(getattr(normalizers, form)()) for form in NORMAL_FORMS},
}  # fmt: skip
texts = st.lists(
    st.text("a <>x\n\t각ᄀ\u1161\u11a8\u212a\U0001d400\u0345\u0300\u1f00\x01\x04é", max_size=60)
    | st.sampled_from([" " * 200, "a" * 200, "\u1100\u1161\u11a8" * 50, "\U0001d7ce" * 50, "<x>", "\x04" * 90])
    | st.text(max_size=20),
    max_size=8,
).map("".join)


@settings(max_examples=60, deadline=None)
@given(text=texts)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_no_text_has_fewer_tokens_than_its_bytes_say(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    encoder = Encoder(tokenizer)
    most = encoder.fewest_tokens(text) * (1 if encoder.bytes_per_token < 1024 else 0)
    for special in (False, True):
        assert len(encoder.encode(text, special=special)) >= most


def test_no_character_gets_more_than_four_times_shorter_in_a_normal_form() -> None:
    for form in NORMAL_FORMS:
        for code in (*range(0xD800), *range(0xE000, 0x110000)):
            character = chr(code)
            if not unicodedata.is_normalized(form, character):
                assert len(character.encode()) <= 4 * len(unicodedata.normalize(form, character).encode())


def test_the_bound_is_useful_with_tokenizers_of_today() -> None:
    for name in ("byte level", "few bytes", "SentencePiece", "NFC"):
        assert Encoder(TOKENIZERS[name]).bytes_per_token < 500, name


class Spy:
    """Counts the characters that tokenizers are given."""

    def __init__(self) -> None:
        self.most = 0

    def watch(self, call: Callable[..., object]) -> Callable[..., object]:
        def watched(tokenizer: object, text: object, *rest: object, **options: object) -> object:
            self.most = max(self.most, len(text) if isinstance(text, str) else 0)
            return call(tokenizer, text, *rest, **options)

        return watched


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    spy = Spy()
    for name in ("encode", "__call__", "tokenize"):
        monkeypatch.setattr(PreTrainedTokenizerBase, name, spy.watch(getattr(PreTrainedTokenizerBase, name)))
    yield spy


CHAT = ChatFormat(tiny_tokenizer())
LIMITS = TextConfig(held_out=0.0, max_prompt=100, max_answer=100)
SMALL = (Demonstration(prompt="a", answer="b"), Demonstration(prompt="c", answer="d"))


def test_training_leaves_out_what_is_too_long_and_says_so(spy: Spy) -> None:
    long_answer, long_prompt = Demonstration(prompt="q", answer=HUGE), Demonstration(prompt=HUGE, answer="a")
    gathered = demonstrations([*SMALL, long_answer, long_prompt], CHAT, LIMITS)
    assert gathered.dropped == {"answer over 100 tokens": 1, "prompt over 100 tokens": 1}
    ranked = Ranking(prompt="q", candidates=("a", "b", HUGE), ranks=(1, 2, 3))
    assert rankings([ranked], CHAT, LIMITS).dropped == {"answers of rankings: answer over 100 tokens": 1}
    assert prompts([Prompt(prompt="q"), Prompt(prompt=HUGE)], CHAT, LIMITS).dropped == {"prompt over 100 tokens": 1}
    assert spy.most < 100_000


def test_a_large_pretraining_text_is_read_in_parts(spy: Spy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(HUGE[:100_000])
    whole = pretraining([tmp_path / "a.txt"], CHAT, LIMITS).train
    spy.most = 0
    monkeypatch.setattr(encode, "MOST_BYTES", 40_000)
    assert pretraining([tmp_path / "a.txt"], CHAT, LIMITS).train == whole  # cut at lines, nothing changes
    assert 0 < spy.most <= 40_000


def test_chats_engines_and_critics_refuse_what_is_too_long(spy: Spy, tmp_path: Path) -> None:
    engine, task = tiny_engine(), Task(id="x", question="", answer=HUGE)
    chats = [EngineChat(engine, engine.tokenizer), EngineChat(engine), ServerChat(None, engine.tokenizer)]  # type: ignore[arg-type]
    for chat in chats:
        try:
            assert chat.count([Message(role="user", content=HUGE)]) > 10_000
        except UnfitInputError as error:
            assert "too long" in str(error)
        assert not PromptedCritic(chat).fits(task)
    assert not VotingCritic(engine, "").fits(task)
    assert not SearchCritic(engine, zero_reward, FencedWriter(engine), {}).fits(task)
    for too_much in (lambda: encode_plain(engine, HUGE), lambda: ChatFormat(engine.tokenizer).prompt(HUGE)):
        with pytest.raises(TooLongError, match="too long"):
            too_much()
    with pytest.raises(TooLongError, match="answer over 9 tokens"):
        ChatFormat(engine.tokenizer).turn("a", HUGE, Limits(9, 9))
    with Ledger(tmp_path / "ledger.jsonl", {}) as ledger:
        questions = Questions(engine, ledger)
        whole, its_end = (questions.greedy([text + "The end is"], (), 4) for text in (HUGE, HUGE[-60_000:]))
        assert whole == its_end
        assert questions.likelihoods([(HUGE, " a")])[0].tokens > 0
    assert _counter(str(TINY), 1000)(HUGE) > 1000
    assert spy.most < 150_000


def test_a_huge_answer_is_skipped_and_the_others_are_criticised(spy: Spy) -> None:
    tasks = (Task(id="a", question="", answer="x = 1"), Task(id="b", question="", answer=HUGE))
    one, other = ShardCritic(CritiqueConfig(max_tokens=4))(Shard(0, 0, tasks))
    assert one.critiques and not one.skipped
    assert re.fullmatch(r"too long: a prompt of at least \d+ tokens and 4 more .*", other.skipped)
    assert spy.most < 150_000


def test_a_text_of_no_known_limit_is_bounded_too(spy: Spy) -> None:
    engine = load_local_engine(TINY)
    engine.context_length = None
    with pytest.raises(TooLongError, match="bytes of text"):
        engine.encode(HUGE, bos=True)
    assert spy.most == 0


def test_nothing_else_tokenizes() -> None:
    source = Path(momus.__file__).parent
    recipe = source / "tiny"  # reads our own texts
    calls = [
        f"{path.relative_to(source)}: {line.strip()}"
        for path in source.rglob("*.py")
        if recipe not in path.parents and path != source / "lm" / "text" / "encode.py"
        for line in path.read_text().splitlines()
        if re.search(r"tokenizer\.encode\(|(?<!_)tokenizer\(\w|tokenizer\.tokenize\(|encode_batch", line)
    ]
    cut_before = "evaluate/instruct/toxicity.py: batch = tokenizer(text"
    of_ours = "lm/pointers/line_pointer.py: numbers = tokenizer(_PROBE"
    assert [call for call in calls if not call.startswith((cut_before, of_ours)) and "def " not in call] == []
