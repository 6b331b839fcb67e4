"""Adapters: nothing is held twice, what is trained is all that is kept, merged and reloaded it is the same model."""

import copy
import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from momus.errors import UserError
from momus.lm.forward import branch_logprobs, leaf_scores, token_logprobs
from momus.lm.local import adapters
from momus.lm.local.adapter_base import is_adapter
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel, load_causal_lm, save_causal_lm
from momus.lm.tree import TokenTree
from momus.runtime.adapters import (
    Reference,
    add_adapter,
    copy_of,
    is_base,
    reward_model_of,
    unfreeze,
    value_of,
    without_adapter,
    write_adapter,
)
from momus.runtime.runs import Run
from momus.runtime.settings import LoRA, Setup
from momus.runtime.sharding import describe, prepare, save, save_adapter, save_merged
from momus.train.ppo import train_policy
from momus.train.ppo_networks import PPONetworks
from momus.train.reward import RankedPrompt, train_reward_model
from momus.train.settings import PPOConfig, RewardConfig
from support.tiny import gpt2, llama, tiny_model, tiny_tokenizer

TREES = [
    TokenTree.from_branches([1, 5, 6], [[7, 8, 2], [9, 2], [7, 7, 7, 7, 2]]),
    TokenTree.from_branches([1, 9], [[11, 2], [12, 13, 14, 2]]),
]
RANKINGS = [RankedPrompt((1, 5, i), ((7, 8, 2), (9, i, 2), (3, 2)), (1, 2, 3)) for i in range(10, 16)]
SMALL = PPOConfig.tiny(
    iterations=2, prompts_per_batch=2, rollouts_per_prompt=2, minibatches=2, save_every=1, policy_learning_rate=1e-2
)
MODELS = {"llama": llama, "gpt2": gpt2}
ADAPTER = Setup(adapter=LoRA(rank=2))


def saved(folder: Path, model) -> Path:
    save_causal_lm(model, folder)
    return folder


def shaken(model: nn.Module) -> nn.Module:
    """Give an adapter something to say, as training does."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model


def tensors(*models: nn.Module) -> dict[int, torch.Tensor]:
    """All parameters of some models, each once."""
    return {p.data_ptr(): p for model in models for p in model.parameters()}


def size(*models: nn.Module) -> int:
    return sum(p.numel() for p in tensors(*models).values())


def sample(policy, prompts, n, key):
    return [[[7 + key[1], 8, 2], [9, 2]][:n] for _ in prompts]


def score(prompts, responses):
    return [[float(len(response)) for response in item] for item in responses]


def ppo(folder: Path, policy, judge: RewardModel | None, config: PPOConfig = SMALL):
    run = Run(folder, config)
    return train_policy(policy, judge, [[1, 5], [1, 6, 9]], sample, score, config, run, eos_id=2)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("reward", [False, True])
def test_a_fresh_adapter_changes_nothing_and_only_it_is_trained(kind: str, reward: bool) -> None:
    model = RewardModel.from_causal_lm(MODELS[kind]()).eval() if reward else MODELS[kind]()
    read = (lambda: leaf_scores(model, TREES)) if reward else (lambda: token_logprobs(model, TREES).logprobs)
    before, whole = read(), size(model)
    add_adapter(model, LoRA(rank=2))
    assert torch.equal(read(), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".lora_" in name or name == "head.weight"}
    frozen = sum(p.numel() for name, p in model.named_parameters() if is_base(name, model))
    assert frozen == whole - (model.head.weight.numel() if reward else 0)
    assert not torch.equal(read().detach(), (shaken(model), read())[1])
    with without_adapter(model.backbone if reward else model):
        assert torch.equal(read(), before)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained
    with pytest.raises(UserError, match="an adapter already"):
        add_adapter(model, LoRA())


def test_settings_are_checked_and_stated() -> None:
    with pytest.raises(UserError, match="rank 0: must be at least 1"):
        LoRA(rank=0)
    with pytest.raises(UserError, match="cannot adapt"):
        add_adapter(llama(), LoRA(targets=("nothing",)))
    model = prepare(llama(), Setup(adapter=LoRA(rank=3, targets=("q_proj", "v_proj")), gradient_checkpointing=True))
    stated = describe(model)
    base = stated["adapter"].pop("base")
    assert stated == {
        "dtype": "float32",
        "computed_in": "float32",
        "gradient_checkpointing": True,
        "adapter": {"rank": 3, "alpha": 32.0, "dropout": 0.0, "targets": ("q_proj", "v_proj")},
    }
    assert len(base) == 64 and json.dumps(stated)
    assert describe(llama())["adapter"] is None and not describe(llama())["gradient_checkpointing"]


def test_ppo_holds_every_parameter_once(tmp_path: Path) -> None:
    """Policy, reference, average, value and reward model: one base for each of the two kinds, and adapters."""
    policy, judge = llama(), RewardModel.from_causal_lm(llama(5))
    whole = size(policy) + size(judge)
    prepare(policy, ADAPTER), prepare(judge, ADAPTER)
    adapters = [sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n) for model in (policy, judge)]
    networks = PPONetworks(policy, judge, SMALL, Run(tmp_path, SMALL))
    held = size(policy, judge, networks.reference.model, networks.average, networks.value)
    # The average and the value network have adapters, and the value network a head, of their own.
    assert held == whole + 2 * sum(adapters) + judge.head.weight.numel()
    lone = value_of(policy)
    assert size(policy, lone) == size(policy) + adapters[0] + lone.head.weight.numel()
    assert not leaf_scores(lone, TREES).any()


def test_the_reference_is_the_policy_as_it_was(tmp_path: Path) -> None:
    policy, before = prepare(llama(), ADAPTER), token_logprobs(llama(), TREES).logprobs
    reference = Reference(policy)
    history = ppo(tmp_path, policy, None).history
    assert history[0]["kl"] == 0.0 and history[1]["kl"] != 0.0
    assert torch.equal(reference.logprobs(TREES, 1.0), before)
    assert not torch.equal(token_logprobs(policy, TREES).logprobs, before)
    trained = token_logprobs(policy, TREES).logprobs
    kept = Reference(policy)  # of an adapter that was trained before: the base with a frozen copy of it
    ppo(tmp_path / "again", policy, None)
    assert torch.equal(kept.logprobs(TREES, 1.0), trained)
    assert not torch.equal(token_logprobs(policy, TREES).logprobs, trained)


@pytest.mark.parametrize("judged", [False, True])
def test_ppo_with_an_adapter_resumes_and_keeps_what_is_trained(tmp_path: Path, judged: bool) -> None:
    def start(seed: int) -> tuple[nn.Module, RewardModel | None]:
        torch.manual_seed(7)
        judge = prepare(RewardModel.from_causal_lm(llama(5)), ADAPTER) if judged else None
        policy = llama()
        torch.manual_seed(seed)  # of the adapter, which a checkpoint brings along
        return prepare(policy, ADAPTER), judge

    base = {name: p.clone() for name, p in llama().named_parameters()}
    whole = ppo(tmp_path / "whole", *start(0))
    ppo(tmp_path / "cut", *start(0), dataclasses.replace(SMALL, iterations=1))
    (tmp_path / "cut/config.json").write_bytes((tmp_path / "whole/config.json").read_bytes())
    resumed = ppo(tmp_path / "cut", *start(1))
    for name in ("policy", "ema", "value"):
        one, other = getattr(whole, name).state_dict(), getattr(resumed, name).state_dict()
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
        kept = load_file(tmp_path / f"whole/checkpoint-2/{name}.safetensors")
        assert kept and all(".lora_" in key or key in ("head.weight", "bias") for key in kept)
    for name, parameter in whole.policy.named_parameters():
        if is_base(name, whole.policy):
            assert torch.equal(parameter, base[name.replace(".base_layer", "")])
    other = prepare(llama(9), ADAPTER), start(0)[1]
    with pytest.raises(UserError, match="adapter of another base model for the policy"):
        ppo(tmp_path / "whole", *other)


def test_reward_training_with_an_adapter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = prepare(RewardModel.from_causal_lm(llama()), ADAPTER)
    backbone = copy.deepcopy({n: p for n, p in model.named_parameters() if is_base(n, model)})
    config = RewardConfig.tiny(epochs=12, prompts_per_batch=3, learning_rate=1e-2)
    history = train_reward_model(model, RANKINGS, config, Run(tmp_path, config))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert all(torch.equal(p, dict(model.named_parameters())[n]) for n, p in backbone.items())
    with pytest.raises(UserError, match="another base model for the model"):
        train_reward_model(RewardModel.from_causal_lm(llama()), RANKINGS, config, Run(tmp_path, config))


@pytest.mark.parametrize("kind", MODELS)
def test_alone_and_merged_it_is_the_same_language_model(tmp_path: Path, kind: str) -> None:
    base = saved(tmp_path / "base", MODELS[kind]())
    model = shaken(prepare(load_causal_lm(base), ADAPTER)).eval()
    expected = token_logprobs(model, TREES).logprobs
    save(model, tmp_path / "merged")
    save_adapter(model, tmp_path / "adapter")
    assert all(".lora_" in name for name in load_file(tmp_path / "adapter/adapter_model.safetensors"))
    merged, reloaded = load_causal_lm(tmp_path / "merged"), load_causal_lm(tmp_path / "adapter")
    assert not any(".lora_" in name for name, _ in merged.named_parameters())
    by_peft = PeftModel.from_pretrained(MODELS[kind](), tmp_path / "adapter").merge_and_unload().eval()
    for other in (merged, reloaded, by_peft):
        torch.testing.assert_close(token_logprobs(other, TREES).logprobs, expected, atol=1e-5, rtol=1e-5)
    saved(base, llama(9) if kind == "llama" else llama())
    with pytest.raises(UserError, match=r"trained on another model|cannot load"):
        load_causal_lm(tmp_path / "adapter")
    with pytest.raises(UserError, match="no adapter to save"):
        save_adapter(merged, tmp_path / "none")


def test_alone_and_merged_it_is_the_same_reward_model(tmp_path: Path) -> None:
    base = saved(tmp_path / "base", llama())
    for step in range(2):  # of a language model, then of a reward model
        model = RewardModel.from_causal_lm(load_causal_lm(base)) if not step else RewardModel.load(tmp_path / "merged0")
        shaken(prepare(model, ADAPTER)).eval()
        model.bias += 0.5
        expected = leaf_scores(model, TREES)
        save(model, tmp_path / f"merged{step}")
        save_adapter(model, tmp_path / f"adapter{step}")
        for name in ("merged", "adapter"):
            actual = RewardModel.load(tmp_path / f"{name}{step}").eval()
            torch.testing.assert_close(leaf_scores(actual, TREES), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=8, phases=(Phase.generate,))
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-6, 1e-4, 1e-2]), reward=st.booleans())
def test_an_update_of_any_size_survives_being_saved_from_bf16(seed: int, scale: float, reward: bool) -> None:
    """Whole and alone, over a base that was published in float32, and whatever bfloat16 would keep of the sum."""
    with TemporaryDirectory() as folder:
        out = Path(folder)
        published = load_causal_lm(saved(out / "base", llama()))
        model = reward_model_of(load_causal_lm(out / "base")) if reward else load_causal_lm(out / "base")
        prepare(model, Setup(precision="bf16", adapter=LoRA(rank=2)))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.data.normal_(0, scale, generator=generator)
        save_adapter(model, out / "adapter")
        save_merged(model, out / "adapter", out / "merged")
        assert (
            is_adapter(out / "adapter") and json.loads((out / "merged/config.json").read_text())["dtype"] == "float32"
        )
        read = RewardModel.load if reward else load_causal_lm
        before, after = (published.base_model.state_dict(), read(out / "merged"))
        after = (after.backbone if reward else after.base_model).state_dict()
        layers = dict((model.backbone if reward else model.base_model).named_modules())
        for name, weight in before.items():
            layer = layers[name.rpartition(".")[0]]
            if not hasattr(layer, "lora_A"):
                assert torch.equal(after[name], weight)  # not rounded with the rest of the base
                continue
            a, b = (getattr(layer, f"lora_{part}")["default"].weight for part in "AB")
            torch.testing.assert_close(after[name] - weight, 16 * b @ a, atol=1.2e-7, rtol=1e-3)


@settings(max_examples=8, phases=(Phase.generate,))
@given(data=st.data(), dtype=st.sampled_from([torch.bfloat16, torch.float16]))
def test_a_base_in_another_precision_is_accepted_with_a_line_and_any_other_refused(data, dtype: torch.dtype) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(adapters._LOG, "warning", lambda text, *values: lines.append(text % values))
        out = Path(folder)
        base = saved(out / "base", llama())
        write_adapter(model := add_adapter(load_causal_lm(base), LoRA(rank=2)), out / "adapter", model.state_dict())
        load_causal_lm(out / "adapter")
        assert not lines
        saved(base, llama().to(dtype))
        load_causal_lm(out / "adapter")
        assert len(lines) == 1 and "in another precision" in lines[0]
        other = llama()
        weight = data.draw(st.sampled_from(list(other.parameters())))
        place = data.draw(st.integers(0, weight.numel() - 1))
        with torch.no_grad():  # by no more than bfloat16 can tell
            weight.view(-1)[place] = weight.view(-1)[place] * 1.01 + 1e-5
        saved(base, other.to(dtype) if data.draw(st.booleans()) else other)
        with pytest.raises(UserError, match=r"another model than .* is now: its weights are not those"):
            load_causal_lm(out / "adapter")
        saved(base, llama(vocab=65))
        with pytest.raises(UserError, match="its tensors have other names or shapes"):
            load_causal_lm(out / "adapter")
        saved(base, gpt2())
        with pytest.raises(UserError, match="llama, not gpt2"):
            load_causal_lm(out / "adapter")
        assert len(lines) == 1


def test_a_base_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer, other = tiny_tokenizer(), copy.deepcopy(tiny_tokenizer())
    save_causal_lm(tiny_model(), tmp_path / "base", tokenizer)
    model = prepare(load_causal_lm(tmp_path / "base"), ADAPTER)
    save_adapter(model, tmp_path / "adapter", tokenizer)
    load_causal_lm(tmp_path / "adapter")
    other.add_tokens(["another"])
    save_causal_lm(tiny_model(), tmp_path / "base", other)
    with pytest.raises(UserError, match="another vocabulary"):
        load_causal_lm(tmp_path / "adapter")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"base_model_name_or_path": 3}', '{"base_model_name_or_path": "/nowhere"}']
)
def test_a_damaged_adapter_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(UserError, match=r"adapter|/nowhere"):
        load_causal_lm(tmp_path)


def test_an_adapter_is_continued_by_its_own_settings(tmp_path: Path) -> None:
    saved(tmp_path / "base", llama())
    setup = Setup(adapter=LoRA(rank=3, alpha=5, targets=("q_proj", "v_proj")))
    save_adapter(shaken(prepare(load_causal_lm(tmp_path / "base"), setup)), tmp_path / "adapter")
    expected = token_logprobs(load_causal_lm(tmp_path / "adapter"), TREES).logprobs
    for given_again in (Setup(adapter=LoRA()), setup):
        model = prepare(load_causal_lm(tmp_path / "adapter"), given_again)
        assert describe(model)["adapter"]["rank"] == 3 and describe(model)["adapter"]["targets"] == ["q_proj", "v_proj"]
        assert {n for n, p in model.named_parameters() if p.requires_grad} == {
            n for n, _ in model.named_parameters() if ".lora_" in n
        }
        torch.testing.assert_close(token_logprobs(model, TREES).logprobs, expected)
    for wrong in (LoRA(rank=4), LoRA(alpha=6), LoRA(dropout=0.1), LoRA(targets=("q_proj",))):
        with pytest.raises(UserError, match="the adapter to continue has"):
            prepare(load_causal_lm(tmp_path / "adapter"), Setup(adapter=wrong))
    whole = prepare(load_causal_lm(tmp_path / "adapter"), Setup())  # no adapter is to be trained
    assert not any(".lora_" in name for name, _ in whole.named_parameters())
    assert all(p.requires_grad for p in whole.parameters())
    torch.testing.assert_close(token_logprobs(whole, TREES).logprobs, expected, atol=1e-5, rtol=1e-5)
    save(whole, tmp_path / "whole")
    torch.testing.assert_close(
        token_logprobs(load_causal_lm(tmp_path / "whole"), TREES).logprobs, expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", MODELS)
def test_a_reward_model_goes_on_from_a_policys_adapter(tmp_path: Path, kind: str) -> None:
    base = saved(tmp_path / "base", MODELS[kind]())
    save_adapter(shaken(prepare(load_causal_lm(base), ADAPTER)), tmp_path / "sft")
    policy, merged = load_causal_lm(tmp_path / "sft"), prepare(load_causal_lm(tmp_path / "sft"), Setup())
    torch.manual_seed(1)
    expected = leaf_scores(RewardModel.from_causal_lm(merged), TREES)
    torch.manual_seed(1)
    model = prepare(reward_model_of(policy), ADAPTER)
    torch.testing.assert_close(leaf_scores(model, TREES), expected, atol=1e-5, rtol=1e-5)
    config = RewardConfig.tiny(epochs=2, prompts_per_batch=3, learning_rate=1e-2)
    train_reward_model(model, RANKINGS, config, Run(tmp_path / "run", config))
    save_adapter(model, tmp_path / "reward")
    stored = json.loads((tmp_path / "reward/adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == str(base.absolute())
    loaded = RewardModel.load(tmp_path / "reward").eval()
    torch.testing.assert_close(leaf_scores(loaded, TREES), leaf_scores(model, TREES), atol=1e-5, rtol=1e-5)


def test_an_engine_samples_from_an_adapted_policy() -> None:
    model, plain = prepare(tiny_model(), ADAPTER), tiny_model()
    prompt = [tiny_tokenizer().encode("def f(items):")]

    def drawn(policy):
        return LocalEngine(policy, tiny_tokenizer()).sample(prompt, 3, key=(0, 0), max_tokens=8)

    assert [s.tokens for s in drawn(model)[0]] == [s.tokens for s in drawn(plain)[0]]
    shaken(model)
    samples = drawn(model)[0]
    trees = [TokenTree.from_branches(prompt[0], [s.tokens for s in samples])]
    for item, sampled in zip(branch_logprobs(model, trees)[0], samples, strict=True):
        torch.testing.assert_close(item, torch.tensor(sampled.logprobs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("setup", [Setup(), ADAPTER])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_layers_computed_again_give_the_same_gradients(setup: Setup, kind: str, training: bool) -> None:
    """Token trees included; unlike transformers' own recomputation, also in evaluation mode, as PPO trains."""
    actual = []
    for again in (False, True):
        torch.manual_seed(0)
        model = copy_of(prepare(MODELS[kind](), dataclasses.replace(setup, gradient_checkpointing=again)))
        shaken(model).train(training)
        calls = 0

        def counted(*_: object) -> None:
            nonlocal calls
            calls += 1

        for module in model.modules():
            if type(module).__name__ in ("LlamaMLP", "GPT2MLP"):
                module.register_forward_pre_hook(counted)  # recomputation stops before the end
        logprobs = token_logprobs(model, TREES).logprobs
        logprobs.sum().backward()
        actual.append([logprobs.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
        assert calls == (4 if again else 2)
    assert len(actual[0]) == len(actual[1]) > 1
    assert all(torch.equal(a, b) for a, b in zip(*actual, strict=True))


def test_bf16_holds_what_is_trained_in_float32_and_the_rest_in_bfloat16(tmp_path: Path) -> None:
    plain, setup = llama(), Setup(precision="bf16", adapter=LoRA(rank=2))
    expected = token_logprobs(plain, TREES).logprobs
    for model in (prepare(llama(), Setup(precision="bf16")), prepare(llama(), setup)):
        dtypes = {(is_base(name, model), p.dtype) for name, p in model.named_parameters()}
        assert dtypes <= {(False, torch.float32), (True, torch.bfloat16)}
        actual = token_logprobs(model, TREES).logprobs
        assert actual.dtype == torch.float32
        off = (actual - expected).abs().max().item()
        assert 1e-6 < off < 0.2  # computed in 8 bits
        assert describe(model)["dtype"] == "float32" and describe(model)["computed_in"] == "bfloat16"
    history = ppo(tmp_path, prepare(llama(), setup), prepare(RewardModel.from_causal_lm(llama(5)), setup)).history
    assert history[0]["kl"] == 0.0 and history[0]["ratio"] == pytest.approx(1, abs=0.1)
    with pytest.raises(UserError, match="fp16 is not supported"):
        prepare(llama(), Setup(precision="fp16"))  # type: ignore[arg-type]


def test_unfreezing_leaves_the_base_alone() -> None:
    model = add_adapter(RewardModel.from_causal_lm(llama()), LoRA(rank=2)).requires_grad_(False)
    assert {n for n, p in unfreeze(model).named_parameters() if p.requires_grad} == {
        n for n, _ in model.named_parameters() if ".lora_" in n or n == "head.weight"
    }
    assert all(p.requires_grad for p in unfreeze(llama().requires_grad_(False)).parameters())
