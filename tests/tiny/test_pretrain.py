"""The embedded model's recipe: examples, optimizer, the loss's places, and a run that continues exactly."""

import random
import shutil
from dataclasses import replace
from itertools import groupby, islice

import numpy as np
import pytest
import torch

from momus.critique import parse_critique
from momus.data import stdlib
from momus.data.functions import Size
from momus.lm.forward import hidden_states
from momus.lm.models import load_tokenizer
from momus.lm.tiny import TINY
from momus.lm.tree import TokenTree
from momus.tamper.sites import find_edits
from momus.tiny import corpus, pretrain
from momus.tiny import losses as wanted
from momus.tiny.examples import CorpusFunction, Mixture, draw_example, draw_tamper
from momus.tiny.muon import Muon, orthogonalize


@pytest.fixture(scope="module", autouse=True)
def few():
    """The first fifth of the standard library: some of every split, in a fifth of the time."""
    modules = list(islice(stdlib.modules(), 120))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stdlib, "modules", lambda: iter(modules))
        yield


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY)


@pytest.fixture(scope="module")
def drawn(few):
    tasks = [t for t in stdlib.stdlib_tasks(Size(max_chars=500)) if t.split == "train"][:60]
    return [CorpusFunction(t.question, t.answer, tuple(find_edits(t.answer))) for t in tasks]


def test_examples_hold_the_gold_critique_and_mark_the_bugs(drawn, tokenizer):
    mixture = Mixture(bugs=(0.0, 0.7, 0.3), claims=1.0)
    seen = 0
    for number, function in enumerate(drawn):
        example = draw_example(function, mixture, tokenizer, random.Random(number))
        if example is None:
            continue
        seen += 1
        tree, weight, buggy, line, source, right, options = example
        assert len(tree) == len(weight) == len(buggy) == len(right)
        prompt = tokenizer.decode(tree.tokens[: tree.branches[0][0]])
        answer = prompt[prompt.index("```python\n") + 10 : prompt.rindex("\n```\n")]
        text = tokenizer.decode(tree.tokens[tree.branches[0]]).removesuffix("<|eos|>")
        critique = parse_critique(text, answer)
        assert critique.comments and not critique.unanchored
        own = weight[tree.branches[0]]
        assert set(own.tolist()) <= {1.0, mixture.choice_weight} and weight[0] == 0
        # What weighs more is where a quote could still be another line's: up to the token that tells them apart.
        lines = {line.strip() for line in answer.split("\n") if line.strip()}
        runs = [list(run) for chosen, run in groupby(range(len(own)), (own != 1).__getitem__) if chosen]
        assert len(runs) == (len(critique.comments) if len(lines) > 1 else 0)
        for run, comment in zip(runs, critique.comments, strict=False):
            open_, told = (tokenizer.decode(tree.tokens[tree.branches[0]][cut]) for cut in (run[:-1], run))
            others = [line + "\n" for line in lines if line != comment.highlight]
            assert any(line.startswith(open_) for line in others) and not any(line.startswith(told) for line in others)
            assert (comment.highlight + "\n").startswith(told)
        assert (buggy == 1).any() and (buggy[tree.branches[0][0] :] == -1).all()
        # The end of every line of the answer, and nothing else, knows how the line began.
        ends = np.flatnonzero(line[:, 0] >= 0)
        began = [tokenizer.decode([t for t in line[end] if t >= 0]) for end in ends]
        lines = [text.strip() for text in answer.split("\n") if text.strip()]
        assert len(began) == len(lines)
        assert all(own.startswith(start.strip()) for own, start in zip(lines, began, strict=True))
        # A line is marked from its bug to its end.
        assert all(buggy[i] in (0, 1) and "\n" in tokenizer.decode([tree.tokens[i]]) for i in ends)
        assert all(buggy[i + 1] == 1 or i in ends for i in np.flatnonzero(buggy == 1))
        # Where a line is chosen, its end is known.
        assert (source[tree.branches[0]] >= 0).tolist() == (own == mixture.choice_weight).tolist()
        for run, comment in zip(runs, critique.comments, strict=False):
            (end,) = set(source[tree.branches[0]][run].tolist())
            assert comment.highlight.startswith(tokenizer.decode([t for t in line[end] if t >= 0]).strip())
        # There all lines that were not quoted before are options, then those that begin with what was chosen.
        distinct = {line.strip() for line in answer.split("\n") if line.strip()}
        for number, run in enumerate(runs):
            quoted = {comment.highlight for comment in critique.comments[:number]}
            for place in run:
                at = tree.branches[0][place]
                here = options[options[:, 0] == at]
                assert [at, tree.tokens[at], source[at]] in here.tolist()
                begun = tokenizer.decode(tree.tokens[tree.branches[0]][run[0] : place])
                assert len(here) == sum((own + "\n").startswith(begun) for own in distinct - quoted)
        assert set(options[:, 0]) == {tree.branches[0][place] for run in runs for place in run}
        # A marked token is one of a line that the critique is about or that the bug spans.
        # Where a quote closes it is known whether a bug is there, and where a critique ends whether it is right.
        known = right[tree.branches[0]]
        assert known[-1] == 1 and (known >= 0).sum() == len(critique.comments) + 1 and not (known == 0).any()
        assert (right[: tree.branches[0][0]] == -1).all()
        gold = {line.strip() for comment in critique.comments for line in comment.highlight.split("\n")}
        labels, ends = [], []
        for branch in tree.branches[1:]:
            branch_text = tokenizer.decode(tree.tokens[branch])
            if tree.tokens[branch][-1] == tokenizer.eos_token_id:
                claim = parse_critique(branch_text.removesuffix("<|eos|>"), answer).comments[0]
                closing, end = right[branch][right[branch] >= 0]
                assert weight[branch].sum() == 0
                assert closing or not end
                assert closing or claim.highlight not in gold
                ends.append(end)
            elif branch_text.startswith("Claim:"):
                assert (
                    branch_text[-1] in "AB"
                    and weight[branch].tolist()[-1] == mixture.label_weight == weight[branch].sum()
                )
                labels.append(branch_text[-1] == "A")
            else:
                assert (right[branch] >= 0).tolist() == [False] * (len(branch) - 1) + [True]
                # What is trained of a quote is determined by what stands before it.
                line = branch_text.removeprefix("```\n").removesuffix("\n```")
                assert right[branch][-1] or line not in gold
                lines = {own.strip() for own in answer.split("\n")}
                known = tokenizer.decode(tree.tokens[branch][weight[branch] == 0]).removeprefix("```\n")
                assert line in lines and [own for own in lines if own and (own + "\n```").startswith(known)] == [line]
        assert labels == ends and len(labels) <= 2
    assert seen > 30


def test_tampers_are_fresh_and_keyed(drawn):
    function = max(drawn, key=lambda f: len(f.edits))
    answers = {draw_tamper(function, 1, random.Random(i)).answer for i in range(20)}
    assert len(answers) > 5
    assert draw_tamper(function, 2, random.Random(7)) == draw_tamper(function, 2, random.Random(7))


def test_losses_are_those_of_separate_rows(drawn, tokenizer):
    """Brute force: every critique and every label predicted from its own unpadded row."""
    config = replace(pretrain.PRESETS["smoke"], vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model = pretrain.LlamaForCausalLM(pretrain._architecture(config))
    heads = pretrain.Heads(config.hidden_size)
    mixture = Mixture(claims=1.0)
    drawn_examples = (draw_example(f, mixture, tokenizer, random.Random(i)) for i, f in enumerate(drawn[:8]))
    examples = [example for example in drawn_examples if example]
    critique, label = [], []
    for tree, *_ in examples:
        prompt = tree.tokens[: tree.branches[0][0]]
        for number, branch in enumerate(tree.branches):
            row = torch.from_numpy(np.concatenate([prompt, tree.tokens[branch]]))
            logprobs = model(row[None]).logits[0].log_softmax(-1)
            own = -logprobs[len(prompt) - 1 : -1].gather(1, row[len(prompt) :, None]).squeeze(1)
            critique += own.tolist() if number == 0 else []
            label += own[-1:].tolist() if tokenizer.decode(tree.tokens[branch]).startswith("Claim:") else []
    losses = pretrain._step(model, heads, pretrain._optimizers(model, heads, config), examples, config)
    assert losses["critique"] == pytest.approx(np.mean(critique), abs=2e-3)
    assert losses["label"] == pytest.approx(np.mean(label), abs=2e-3)


def test_where_a_line_is_chosen_attention_is_measured_as_the_model_has_it(drawn, tokenizer):
    """Brute force: the first heads' attention in plain rows, among the prompt's tokens."""
    config = replace(pretrain.PRESETS["smoke"], vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model = pretrain.LlamaForCausalLM(pretrain._architecture(config))
    made = (draw_example(f, Mixture(), tokenizer, random.Random(i)) for i, f in enumerate(drawn[:6]))
    examples = [example for example in made if example]
    expected = []
    model.set_attn_implementation("eager")
    for example in examples:
        prompt, critique = example.tree.branches[0][0], example.tree.branches[0]
        row = torch.from_numpy(example.tree.tokens[: critique[-1] + 1])
        attention = model(row[None], output_attentions=True).attentions[config.detect_layer][0]
        for place in np.flatnonzero(example.source >= 0):
            own = attention[: wanted.LOOKING, place - 1, :prompt]
            expected += (-(own[:, example.source[place]] / own.sum(-1)).log()).tolist()
    assert expected
    heads = pretrain.Heads(config.hidden_size)
    losses = pretrain._step(model, heads, pretrain._optimizers(model, heads, config), examples, config)
    assert losses["look"] == pytest.approx(np.mean(expected), abs=2e-3)


def test_the_critique_follows_the_detector_over_all_lines_left(drawn, tokenizer):
    """Brute force: the probability of every line that could be quoted first, read from its own row."""
    config = replace(pretrain.PRESETS["smoke"], vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model = pretrain.LlamaForCausalLM(pretrain._architecture(config))
    made = (draw_example(f, Mixture(bugs=(0, 1)), tokenizer, random.Random(i)) for i, f in enumerate(drawn[:6]))
    examples = [example for example in made if example]
    trees = [example.tree for example in examples]
    row, hidden = TokenTree.joined(trees), hidden_states(model.base_model, trees)
    odd, expected, start = torch.randn(len(row)), [], 0
    for tree, *_, options in examples:
        for place in sorted(set(options[:, 0])):
            before = np.concatenate(
                [tree.tokens[: tree.branches[0][0]], tree.tokens[[i for i in tree.branches[0] if i < place]]]
            )
            told = model(torch.from_numpy(before)[None]).logits[0, -1].log_softmax(-1)
            own = options[options[:, 0] == place]
            share = odd[own[:, 2] + start].softmax(0)
            expected.append(-(share * told[own[:, 1]]).sum().item())
        start += len(tree)
    assert wanted._follow_loss(model, hidden, odd, row, examples).item() == pytest.approx(np.mean(expected), abs=1e-4)


def test_in_the_end_only_the_layers_above_the_detector_move(drawn, tokenizer):
    config = replace(pretrain.PRESETS["smoke"], vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model, heads = pretrain.LlamaForCausalLM(pretrain._architecture(config)), pretrain.Heads(config.hidden_size)
    optimizers = pretrain._optimizers(model, heads, config)
    made = (draw_example(f, Mixture(claims=1.0), tokenizer, random.Random(i)) for i, f in enumerate(drawn[:4]))
    examples = [example for example in made if example]
    moved = []
    for tokens in (0, config.tokens):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        pretrain._set_rates(optimizers, config, 9, tokens)
        pretrain._freeze(model, heads, config, tokens)
        pretrain._step(model, heads, optimizers, examples, config)
        moved.append({name for name, p in model.named_parameters() if not torch.equal(p, before[name])})
    everything = {name for name, _ in model.named_parameters()}
    top = ("model.norm.", *(f"model.layers.{i}." for i in range(config.detect_layer, config.layers)))
    assert moved == [everything, {name for name in everything if name.startswith(top)}]


def test_orthogonalize_flattens_the_singular_values():
    torch.manual_seed(0)
    for shape in [(3, 8, 8), (2, 6, 12), (2, 12, 6)]:
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
        assert values.min() > 0.3 and values.max() < 1.6


def test_muon_minimises_a_quadratic():
    torch.manual_seed(0)
    target, matrix = torch.randn(6, 4), torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([matrix], lr=0.05)
    first = (matrix - target).square().sum().item()
    for _ in range(150):
        (matrix - target).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (matrix - target).square().sum().item() < first / 20


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, few):
    """A run directory with its corpus, small."""
    folder = tmp_path_factory.mktemp("pretrain")
    config = replace(
        pretrain.PRESETS["smoke"],
        corpus=corpus.CorpusConfig(size=Size(max_lines=6, max_chars=160), per_package=0),
    )
    corpus.build_corpus(folder / "corpus", config.corpus)
    return folder, config


def _start(prepared, tmp_path, name):
    folder, config = prepared
    out = tmp_path / name
    shutil.copytree(folder, out)
    return out, config


def test_a_killed_run_continues_exactly(prepared, tmp_path, monkeypatch):
    whole, config = _start(prepared, tmp_path, "whole")
    pretrain.pretrain(whole, config)

    cut, _ = _start(prepared, tmp_path, "cut")
    save, calls = pretrain.Run.save, []

    def killed(self, *args, **kwargs):
        save(self, *args, **kwargs)
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain.Run, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(cut, config)
    monkeypatch.undo()
    assert not (cut / "model").exists() and calls
    pretrain.pretrain(cut, config)

    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def test_the_corpus_leaves_held_out_modules_alone(prepared):
    folder, config = prepared
    held_out = {t.answer for t in stdlib.stdlib_tasks(config.corpus.size) if t.split != "train"}
    assert len(held_out) > 50
    training = corpus.Corpus(folder / "corpus/train.jsonl")
    answers = {training[i].answer for i in range(len(training))}
    assert len(answers) > 100 and not answers & held_out
