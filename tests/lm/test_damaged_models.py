"""A damaged, half-downloaded or hostile model folder is loaded like the whole one, or one line says why not."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import momus
from momus.cli import main
from momus.errors import UserError
from momus.files.model_folder import check_model_folder, count_weights
from momus.lm.chat import ChatFormat
from momus.lm.end_tokens import read_end_tokens
from momus.lm.forward import score_trees
from momus.lm.local.load import load_local_engine
from momus.lm.models import RewardModel, load_causal_lm, load_tokenizer, save_causal_lm
from momus.lm.tree import TokenTree
from support.tiny import tiny_model, tiny_tokenizer

MOST_MEMORY = 2 << 30


class Exploit:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path("/tmp/momus-was-unpickled").touch, ())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A language model, a reward model and an adapter, all with their tokenizer."""
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("whole")
    save_causal_lm(tiny_model(), root / "model", tiny_tokenizer())
    RewardModel.from_causal_lm(tiny_model()).save(root / "reward", tokenizer=tiny_tokenizer())
    adapted = get_peft_model(load_causal_lm(root / "model"), LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(root / "adapter")
    tiny_tokenizer().save_pretrained(root / "adapter")
    return {name: root / name for name in ("model", "reward", "adapter")}


def load_model(folder: Path) -> None:
    engine = load_local_engine(folder)
    read_end_tokens(folder, engine.tokenizer)
    load_tokenizer(folder)
    engine.score([1, 2], [[3]])


def load_reward(folder: Path) -> None:
    RewardModel.load(folder)
    load_tokenizer(folder)


LOADERS: dict[str, Callable[[Path], None]] = {"model": load_model, "reward": load_reward, "adapter": load_model}


def loads_or_is_refused(load: Callable[[Path], None], folder: Path) -> str:
    """Return the line of a refusal, "" where everything could be loaded."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        load(folder)
    except UserError as error:
        line = str(error)
        assert line and "\n" not in line and len(line) < 1000
        return line
    finally:
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < MOST_MEMORY
        assert not Path("/tmp/momus-was-unpickled").exists()
    return ""


def damaged_bytes(data: bytes, chance: random.Random) -> bytes:
    """Cut a file off, flip bytes of it, or put in and take out some."""
    at = chance.randrange(len(data) + 1) if len(data) < 400 or chance.random() < 0.5 else chance.randrange(400)
    return chance.choice(
        [
            data[:at],
            data[:at] + bytes(chance.randrange(256) for _ in range(4)) + data[at + 4 :],
            data[:at] + data[at + chance.randrange(1, 50) :],
            data[:at] + chance.randbytes(5) + data[at:],
            b"",
            b"\x00" * len(data),
        ]
    )


STRANGE = [
    None,
    True,
    -1,
    0,
    1.5,
    10**6,
    10**12,
    2**63,
    "x",
    "",
    [],
    {},
    [[]],
    "../../x",
    [10**9],
    {"a": None},
    "\x1b[31m",
]


def damaged_settings(value: Any, chance: random.Random) -> Any:
    """Put a value of another type or size in the place of one setting, or leave it out."""
    if isinstance(value, dict) and value:
        key = chance.choice(sorted(value))
        if isinstance(value[key], dict | list) and chance.random() < 0.5:
            return {**value, key: damaged_settings(value[key], chance)}
        if chance.random() < 0.2:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: chance.choice(STRANGE)}
    if isinstance(value, list) and value:
        return [*value[:-1], damaged_settings(value[-1], chance)]
    return chance.choice(STRANGE)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", LOADERS)
def test_a_folder_with_random_damage_is_loaded_or_refused(
    whole: dict[str, Path], tmp_path: Path, name: str, seed: int
) -> None:
    chance = random.Random(f"{name} {seed}")
    folder = tmp_path / "folder"
    shutil.copytree(whole[name], folder)
    file = chance.choice(sorted(folder.iterdir()))
    if chance.random() < 0.1:
        file.unlink()
    elif file.suffix == ".json" and chance.random() < 0.6:
        file.write_text(json.dumps(damaged_settings(json.loads(file.read_text()), chance)))
    else:
        file.write_bytes(damaged_bytes(file.read_bytes(), chance))
    loads_or_is_refused(LOADERS[name], folder)


@pytest.mark.parametrize("name", LOADERS)
def test_weights_that_are_cut_off_are_refused_by_name(whole: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder, chance = tmp_path / "folder", random.Random(0)
    shutil.copytree(whole[name], folder)
    [file] = folder.glob("*model.safetensors")
    data = file.read_bytes()
    for cut in [0, 1, 7, 8, 9, len(data) - 1, *(chance.randrange(len(data)) for _ in range(5))]:
        file.write_bytes(data[:cut])
        assert file.name in loads_or_is_refused(LOADERS[name], folder)
    file.write_bytes(data + b"more")
    assert file.name in loads_or_is_refused(LOADERS[name], folder)


def test_the_weights_of_a_whole_file_are_counted(whole: dict[str, Path]) -> None:
    model = load_causal_lm(whole["model"])
    tensors = {tensor.data_ptr(): tensor.numel() for tensor in model.state_dict().values()}
    assert check_model_folder(whole["model"]) in (sum(tensors.values()), sum(t.numel() for t in model.parameters()))


def put(settings: Path, **values: Any) -> None:
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **values}))


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "layers": (lambda folder: put(folder / "config.json", num_hidden_layers=10**9), "num_hidden_layers"),
    "huge": (lambda folder: put(folder / "config.json", vocab_size=10**9, hidden_size=32), "million weights"),
    "wide": (lambda folder: put(folder / "config.json", intermediate_size=2**30), "million weights"),
    "overflow": (lambda folder: put(folder / "config.json", hidden_size=10**30), "hidden_size"),
    "kind": (lambda folder: put(folder / "config.json", model_type="no such kind"), "no such kind"),
    "code": (
        lambda folder: put(
            folder / "config.json",
            model_type="mine",
            auto_map={"AutoModelForCausalLM": "evil.M", "AutoConfig": "evil.C"},
        ),
        "cannot load",
    ),
    "tokenizer code": (
        lambda folder: put(
            folder / "tokenizer_config.json", tokenizer_class="Mine", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}
        ),
        "",
    ),
    "length in words": (
        lambda folder: put(folder / "tokenizer_config.json", model_max_length="many"),
        "model_max_length is 'many'",
    ),
    "list": (lambda folder: (folder / "config.json").write_text("[1]"), "config.json"),
    "deep": (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json"),
    "page": (lambda folder: (folder / "config.json").write_text("<html>404</html>"), "config.json"),
    "no heads": (lambda folder: put(folder / "config.json", num_attention_heads=0), "cannot load"),
    "uneven heads": (lambda folder: put(folder / "config.json", num_attention_heads=3), "cannot load"),
    "number in words": (lambda folder: put(folder / "config.json", hidden_size="32"), "cannot load"),
    "fraction": (lambda folder: put(folder / "config.json", hidden_size=32.5), "cannot load"),
    "other dtype": (lambda folder: put(folder / "config.json", dtype="float3"), "cannot load"),
    "no dtype": (lambda folder: put(folder / "config.json", dtype="nn"), "cannot load"),
    "newer layers": (lambda folder: put(folder / "config.json", layer_types=["hyper_attention"] * 2), "cannot load"),
    "end in words": (lambda folder: put(folder / "config.json", eos_token_id="</s>"), ""),
    "other shape": (lambda folder: put(folder / "config.json", num_key_value_heads=1), "k_proj.weight is of shape"),
    "pointer": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "model.safetensors",
    ),
    "header": (
        lambda folder: (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}"),
        "model.safetensors",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused(whole: dict[str, Path], tmp_path: Path, name: str) -> None:
    damage, words = HOSTILE[name]
    folder = tmp_path / "folder"
    shutil.copytree(whole["model"], folder)
    (folder / "evil.py").write_text("from pathlib import Path\nPath('/tmp/momus-was-unpickled').touch()\n")
    damage(folder)
    assert words in loads_or_is_refused(load_model, folder)


def test_nobody_is_asked_whether_a_strangers_code_may_run() -> None:
    """Left to itself transformers asks on the terminal, and an answer piped in for something else may be a yes."""
    forgotten = []
    for path in Path(momus.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
                continue
            name = ast.unparse(node.func)
            loads = re.fullmatch(r"(Auto\w*|kind)\.from_(pretrained|config)|(\w+\.)?SentenceTransformer", name)
            if loads and "trust_remote_code=False" not in ast.unparse(node):
                forgotten.append(f"{path.name}:{node.lineno}")
    assert not forgotten


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
)
@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "loop", "nowhere"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    whole: dict[str, Path], tmp_path: Path, name: str, kind: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole["model"], folder)
    file = folder / name
    file.unlink(missing_ok=True)
    targets = {"device": "/dev/zero", "loop": name, "nowhere": "gone"}
    if kind in targets:
        file.symlink_to(targets[kind])
    else:
        os.mkfifo(file) if kind == "pipe" else file.mkdir()
    for load in (load_model, load_tokenizer):
        assert f"{name}: is not a file" in loads_or_is_refused(load, folder)
    assert main(["review", str(Path(__file__)), "--model", str(folder)]) == 2


@pytest.mark.parametrize("kind", ["mine", "llama"])
def test_a_yes_that_lies_in_the_input_runs_nothing(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole["model"], folder)
    code = {"AutoModelForCausalLM": "evil.M", "AutoConfig": "evil.C", "AutoTokenizer": ["evil.T", "evil.T"]}
    put(folder / "config.json", model_type=kind, auto_map=code)
    (folder / "evil.py").write_text("from pathlib import Path\nPath('/tmp/momus-was-unpickled').touch()\n")
    for command in (["chat", str(folder)], ["rain", "--model", str(folder), "--prompt", "why?", "--max-tokens", "2"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 5))
        assert main(command) == (2 if kind == "mine" else 0)
        assert not Path("/tmp/momus-was-unpickled").exists()


def test_pickled_weights_are_never_opened(whole: dict[str, Path], tmp_path: Path) -> None:
    for name, file in (("model", "pytorch_model.bin"), ("adapter", "adapter_model.bin")):
        folder = tmp_path / name
        shutil.copytree(whole[name], folder)
        for weights in folder.glob("*.safetensors"):
            weights.unlink()
        (folder / file).write_bytes(pickle.dumps(Exploit()))
        assert "pickled" in loads_or_is_refused(load_model, folder)


@pytest.mark.parametrize("part", ["../../../etc/passwd", "/etc/passwd", "..", "a/b.safetensors", "gone", 3, None])
def test_an_index_names_only_parts_beside_it(whole: dict[str, Path], tmp_path: Path, part: Any) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole["model"], folder)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": part}}))
    assert "model.safetensors.index.json" in loads_or_is_refused(load_model, folder)


NOT_ITS_OWN: dict[str, Callable[[Path], object]] = {
    "another module": lambda folder: put(folder / "adapter_config.json", target_modules=["v_proj"]),
    "more modules": lambda folder: put(folder / "adapter_config.json", target_modules=["q_proj", "v_proj"]),
    "every module": lambda folder: put(folder / "adapter_config.json", target_modules="all-linear"),
    "a whole module": lambda folder: put(folder / "adapter_config.json", modules_to_save=["lm_head"]),
    "another rank": lambda folder: put(folder / "adapter_config.json", r=3),
    "DoRA": lambda folder: put(folder / "adapter_config.json", use_dora=True),
    "another kind": lambda folder: put(folder / "adapter_config.json", peft_type="IA3"),
    "other names": lambda folder: renamed(folder, lambda name: f"x.{name}"),
    "no tensors": lambda folder: save_file({}, folder / "adapter_model.safetensors"),
}


@pytest.mark.parametrize("template", [5, True, {"a": "x"}, [{"name": "a", "template": "{{ 1 }}"}], "several"])
def test_a_chat_template_that_is_none_is_one_line(whole: dict[str, Path], tmp_path: Path, template: Any) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole["model"], folder)
    if template == "several":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "x.jinja").write_text("{{ 1 }}")
    else:
        put(folder / "tokenizer_config.json", chat_template=template)
    with pytest.raises(UserError) as caught:
        ChatFormat(load_tokenizer(folder))
    assert "\n" not in str(caught.value)


def renamed(folder: Path, name: Callable[[str], str]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name(old): tensor for old, tensor in load_file(file).items()}, file)


@pytest.mark.parametrize("name", NOT_ITS_OWN)
def test_an_adapter_that_does_not_get_into_its_base_is_not_left_out_in_silence(
    whole: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole["adapter"], folder)
    NOT_ITS_OWN[name](folder)
    assert "the adapter in" in loads_or_is_refused(load_model, folder)


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"modules_to_save": ["lm_head"]}, {"use_dora": True}])
def test_an_adapter_of_peft_does_what_it_did_or_is_refused(
    whole: dict[str, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(load_causal_lm(whole["model"]), LoraConfig(r=2, target_modules=["q_proj"], **settings))
    torch.manual_seed(0)
    with torch.no_grad():
        for value in adapted.parameters():
            if value.requires_grad:
                value.add_(torch.randn_like(value))
    adapted.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    tokens = torch.tensor([[1, 2, 3]])
    try:
        loaded = load_causal_lm(tmp_path)
    except UserError as error:  # transformers does not read the magnitudes of DoRA
        assert "use_dora" in settings and "lora_magnitude_vector" in str(error)
    else:
        torch.testing.assert_close(loaded(tokens).logits, adapted.eval()(tokens).logits)


def test_an_adapter_of_itself_is_refused(whole: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole["adapter"], folder)
    put(folder / "adapter_config.json", base_model_name_or_path=str(folder))
    assert "itself an adapter" in loads_or_is_refused(load_model, folder)
    put(folder / "adapter_config.json", base_model_name_or_path=str(whole["model"]), r=10**9)
    assert "no model is that large" in loads_or_is_refused(load_model, folder)


@pytest.mark.parametrize(
    "command",
    [
        ["rain", "--model", "FOLDER", "--prompt", "why?"],
        ["train", "sft", "--model", "FOLDER", "--data", "DATA", "--out", "OUT"],
        ["train", "reward", "--model", "FOLDER", "--data", "DATA", "--out", "OUT"],
        ["critique", "TASKS", "--model", "FOLDER", "--out", "OUT"],
        ["review", "CODE", "--model", "FOLDER"],
        ["chat", "FOLDER"],
    ],
)
@pytest.mark.parametrize("damage", ["cut", "settings", "heads", "pickled"])
def test_every_command_that_loads_a_model_says_what_is_wrong_with_it(
    whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], damage: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(whole["model"], folder)
    if damage == "cut":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    elif damage == "settings":
        (folder / "config.json").write_text('{"model_type": "llama"')
    elif damage == "heads":
        put(folder / "config.json", num_attention_heads=0)
    else:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Exploit()))
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 8)
    (tmp_path / "tasks.jsonl").write_text('{"id": "f", "question": "", "answer": "x = 1\\n"}\n')
    (tmp_path / "code.py").write_text("x = 1\n")
    names = {"FOLDER": "folder", "DATA": "data.jsonl", "TASKS": "tasks.jsonl", "CODE": "code.py", "OUT": "out"}
    assert main([str(tmp_path / names[word]) if word in names else word for word in command]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and str(folder) in shown
    assert not Path("/tmp/momus-was-unpickled").exists()


def test_a_safetensors_file_of_no_tensors_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    assert count_weights(tmp_path / "a.safetensors") == 0


@pytest.mark.parametrize("layers", [0, -1])
@pytest.mark.parametrize("kind", ["model", "reward"])
def test_a_model_without_layers_is_none(whole: dict[str, Path], tmp_path: Path, kind: str, layers: int) -> None:
    folder = shutil.copytree(whole[kind], tmp_path / "x")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": layers}))
    assert f"its config.json asks for {layers} layers" in loads_or_is_refused(LOADERS[kind], folder)


def test_scores_that_are_not_numbers_are_told(whole: dict[str, Path]) -> None:
    model = RewardModel.load(whole["reward"])
    with torch.no_grad():
        next(model.backbone.parameters())[5] = float("nan")
    with pytest.raises(UserError, match=r"^the reward model's scores are not numbers"):
        score_trees(model, [TokenTree.from_branches([1, 2], [[3], [5]])])
    assert score_trees(model, [TokenTree.from_branches([1, 2], [[3], [4]])])


def test_likelihoods_that_are_not_numbers_are_told(whole: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(whole["model"], tmp_path / "x")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "layers.0" in name)
    save_file({**tensors, name: tensors[name] * float("nan")}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"^the model's probabilities are not numbers"):
        load_local_engine(folder).score([1, 2], [[3]])
