"""Pointers over a frozen base: what is read of every line, the heads, and the file."""

import math

import pytest
import torch
from transformers import Gemma3Config

from momus.errors import UserError
from momus.lm.pointers.line_pointer import BaseIdentity, HeadShape, LineHead, LinePointer, pad_lines, read_base
from momus.lm.pointers.line_states import POOLS, LineReader, Reads, select, spread_layers
from support.tiny import llama, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ANSWERS = [
    ("Add up.", "def f(items):\n    total = 0\n\n    for x in items:\n        total += x\n    return total"),
    ("", "x = 1\nprint(x)"),
    ("A longer question, about items.", "def f(n):\n    if n:\n        return 1\n    return 'é — 2'\n"),
    ("", "y = 2"),
]
READS = Reads((1, 2))
BASE = BaseIdentity("a base", "llama", 32, 2, "0" * 64)


@pytest.fixture(scope="module")
def model():
    return llama(vocab=len(TOKENIZER))


def read(model, answers=ANSWERS, reads=READS, batch_tokens=4096):
    return LineReader(model, TOKENIZER, reads, batch_tokens).read(answers)


def pointer(heads: int = 2, reads: Reads = READS) -> LinePointer:
    torch.manual_seed(0)
    return LinePointer([LineHead(HeadShape(32, reads, width=16)) for _ in range(heads)], BASE).eval()


@pytest.mark.parametrize("which", [0, 1])
def test_states_are_those_of_a_lines_tokens_in_either_reading(model, which):
    question, answer = ANSWERS[which]
    ((states, _, written),) = read(model, [ANSWERS[which]])
    lines = answer.split("\n")
    assert states.shape == (len(lines), 2, 2, 2, 32)
    assert written.tolist() == [bool(line) for line in lines]
    before = f"# {question}\n"
    text = before + answer + "\n# Again, line by line:\n" + answer + "\n"
    encoded = TOKENIZER(text, return_offsets_mapping=True, add_special_tokens=False)
    with torch.no_grad():
        hidden = model.base_model(torch.tensor([encoded["input_ids"]]), output_hidden_states=True).hidden_states
    for reading, start in enumerate((len(before), text.rindex(answer))):
        for number, line in enumerate(lines):
            tokens = [i for i, (at, _) in enumerate(encoded["offset_mapping"]) if start <= at <= start + len(line)]
            start += len(line) + 1
            if tokens:
                expected = torch.stack([hidden[layer][0, tokens] for layer in READS.layers])
                pooled = torch.stack([expected.mean(1), expected[:, -1]], 1)
                torch.testing.assert_close(states[number, reading].float(), pooled, atol=2e-3, rtol=1e-3)


def test_states_beyond_half_precision_stay_numbers(model, monkeypatch):
    reader = LineReader(model, TOKENIZER, READS)
    pool = reader._pool
    monkeypatch.setattr(reader, "_pool", lambda *row: pool(*row) * 1e9)
    lines = reader.read(ANSWERS[:1])
    assert lines[0].states.isfinite().all()
    (scores,) = pointer().line_log_odds(lines)
    assert not any(math.isnan(score) for score in scores)


def test_a_base_that_reads_pictures_too_is_told_by_the_part_that_reads_text():
    text = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 99}
    identity = BaseIdentity.of("gemma", Gemma3Config(text_config=text), TOKENIZER)
    assert identity[:4] == ("gemma", "gemma3_text", 48, 3)


def test_surprise_is_that_of_the_first_reading(model):
    ((_, surprise, _),) = read(model, [("", "x = 1\nprint(x)")])
    text = "# \nx = 1\nprint(x)\n"
    tokens = torch.tensor([TOKENIZER(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        log_p = model(tokens).logits[0, :-1].log_softmax(-1)
    missed = -log_p.gather(-1, tokens[0, 1:, None])[:, 0]
    offsets = TOKENIZER(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"][1:]
    starts = torch.tensor([start for start, _ in offsets])
    second, first = starts >= len("# \nx = 1\n"), (starts >= len("# \n")) & (starts < len("# \nx = 1\n"))
    torch.testing.assert_close(surprise[0, :2], torch.stack([missed[first].mean(), missed[first].max()]))
    torch.testing.assert_close(surprise[1, 2], missed[second].sum() / 10)


@pytest.mark.parametrize("question", ["", "Add up."])
def test_what_is_read_first_is_no_line_of_the_answer(model, question):
    """A model's first token has states unlike all others: a line that had them was pointed to in 59 of 100 scripts."""
    row = LineReader(model, TOKENIZER, READS)._lay_out(question, "x = 1\nprint(x)")
    assert row.reading[0] == -1 and (row.reading == 0).any()


def test_padding_and_batching_change_nothing(model):
    together, alone = read(model), [read(model, [each])[0] for each in ANSWERS]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.states.float(), other.states.float(), atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(one.surprise, other.surprise, atol=1e-4, rtol=1e-4)
    for one, other in zip(read(model, batch_tokens=1), alone, strict=True):
        assert torch.equal(one.states, other.states)
    net = pointer()
    padded = net(*pad_lines(together))
    for row, lines in zip(padded, together, strict=True):
        (scores,) = net.line_log_odds([lines])
        torch.testing.assert_close(row[: len(scores)], torch.tensor(scores), atol=1e-4, rtol=1e-4)
        assert bool((row[len(scores) :] == -torch.inf).all())


def test_one_reading_reads_half_the_tokens_and_the_same_states(model):
    once = Reads((2,), (0,), ("last",))
    whole, half = read(model), read(model, reads=once)
    for lines, short in zip(whole, half, strict=True):
        chosen = select(lines, READS, once)
        torch.testing.assert_close(chosen.states.float(), short.states.float(), atol=2e-3, rtol=1e-3)
        assert chosen.states.shape == short.states.shape
    reader, again = LineReader(model, TOKENIZER, once), LineReader(model, TOKENIZER, READS)
    answer = "x = 1\n" * 100
    assert reader.problem("", answer) == "" and "the model reads 512" in again.problem("", answer)
    with pytest.raises(UserError, match=r"an answer is too long: it takes [0-9]+ tokens"):
        again.read([("", answer)])


def test_blank_lines_are_never_pointed_to_and_an_empty_answer_has_no_line(model):
    net = pointer()
    (scores,) = net.line_log_odds(read(model, ANSWERS[:1]))
    assert scores[2] == float("-inf") and all(score > float("-inf") for i, score in enumerate(scores) if i != 2)
    (nothing,) = net.line_log_odds(read(model, [("", "\n")]))
    assert nothing == (float("-inf"),) * 2


def test_the_file_gives_the_same_scores_and_says_whose_it_is(model, tmp_path):
    net = pointer(reads=Reads((2,), (1,), POOLS[:1]))
    net.half().float()  # as it is stored
    net.save(tmp_path / "p.safetensors")
    loaded = LinePointer.load(tmp_path / "p.safetensors")
    assert (
        loaded.shift == net.shift == 0.0
        and loaded.shape == net.shape
        and loaded.base == BASE == read_base(tmp_path / "p.safetensors")
    )
    lines = read(model, reads=net.shape.reads)
    assert loaded.line_log_odds(lines) == net.line_log_odds(lines)


@pytest.mark.parametrize("keep", [0, 7, 300, -1])
def test_a_damaged_file_is_one_line(tmp_path, keep):
    path = tmp_path / "p.safetensors"
    pointer().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="cannot load the pointer") as caught:
        LinePointer.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot load the pointer"):
        LinePointer.load(tmp_path / "none")


def test_bases_match_by_what_they_are_not_by_name(model):
    base = BaseIdentity.of("here", model.config, TOKENIZER)
    assert base.matches(base._replace(name="there"))
    assert not base.matches(base._replace(hidden=64))
    assert not base.matches(base._replace(tokens=""))


def test_layers_are_spread_over_the_model(model):
    assert spread_layers(model) == (1, 2)
    with pytest.raises(UserError, match=r"the layers \[3\]: this model has 0 to 2"):
        LineReader(model, TOKENIZER, Reads((3,)))
