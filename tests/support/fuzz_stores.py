"""What Momus itself writes and reads again, damaged: run directories, the label database, pointers, classifiers."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import torch
from torch import nn

from support.label_items import GOOD, ITEMS


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def run_seeds(folder: Path) -> list[Path]:
    from momus.runtime.runs import Run

    run, network = Run(folder / "run", {"seed": 1}), _network()
    optimizer = torch.optim.AdamW(network.parameters())
    for step in (1, 2, 3):
        network(torch.ones(3)).sum().backward()
        optimizer.step()
        run.log(step, loss=0.5)
        run.save(step, {"policy": network}, {"policy": optimizer}, {"cursor": [step, 0.5]})
    run.put("rollouts/0", {"tokens": torch.arange(4), "scores": [0.5, None]})
    return [folder / "run"]


def resume_run(folder: Path) -> None:
    from momus.runtime.runs import Run

    run, network = Run(folder, {"seed": 1}), _network()
    optimizer = torch.optim.AdamW(network.parameters())
    found = run.restore({"policy": network}, {"policy": optimizer})
    json.dumps([run.history(), found])
    run.get("rollouts/0")
    step = found[0] + 1 if found else 1
    run.log(step, loss=0.25)
    run.save(step, {"policy": network}, {"policy": optimizer}, {})
    assert run.restore({"policy": _network()}) is not None


def label_seeds(folder: Path) -> list[Path]:
    from momus.label.kinds import check
    from momus.label.people import People
    from momus.label.rules import NewItem
    from momus.label.schema import migrate, open_database
    from momus.label.store import Store
    from momus.label.views import arrange

    database = open_database(str(folder / "label.db"))
    migrate(database)
    store, people = Store(database, random=Random(0)), People(database)
    person = people.person(people.join(people.invite("labeler", "o"), "kim", "en")).id
    store.add_items([NewItem("demonstration", ITEMS["demonstration"]), NewItem("ranking", ITEMS["ranking"])], "x", "o")
    for kind in ("demonstration", "ranking"):
        lease = store.claim(person, kind, arrange)
        assert lease is not None
        store.submit(lease.token, person, lease.token, GOOD[kind], 30.0, check)
    database.close()
    return [folder / "label.db"]


def read_store(path: Path) -> None:
    from momus.label.exporting import export
    from momus.label.owner.overview import overview
    from momus.label.serve import open_store

    database = open_store(str(path))
    try:
        overview(database)
        export(database, path.with_name("export"))
    finally:
        database.close()


def read_pretraining(path: Path) -> None:
    from momus.lm.chat import ChatFormat
    from momus.train.settings import TextConfig
    from momus.train.texts import pretraining
    from support.tiny import tiny_tokenizer

    pretraining([path], ChatFormat(tiny_tokenizer()), TextConfig(max_prompt=50, max_answer=50)).summary()


def pointer_seeds(folder: Path) -> list[Path]:
    from momus.lm.pointers.pointer import PointerNetwork
    from support.tiny import tiny_model

    PointerNetwork.from_model(tiny_model(), 1, layers=1, heads=2, inner=8).save(folder)
    return [folder / "pointer.safetensors"]


def load_pointer(path: Path) -> None:
    from momus.lm.pointers.pointer import PointerNetwork

    PointerNetwork.load(path)(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))


def line_pointer_seeds(folder: Path) -> list[Path]:
    from momus.lm.pointers.line_pointer import BaseIdentity, HeadShape, LineHead, LinePointer
    from momus.lm.pointers.line_states import Reads

    shape = HeadShape(hidden=8, reads=Reads((0, 1)), width=8)
    LinePointer([LineHead(shape)], BaseIdentity("m", "llama", 8, 2, "0")).save(folder / "lines.safetensors")
    return [folder / "lines.safetensors"]


def load_line_pointer(path: Path) -> None:
    from momus.lm.pointers.line_pointer import LinePointer

    LinePointer.load(path)


def classifier_seeds(folder: Path) -> list[Path]:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from support.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, id2label={0: "fine", 1: "toxic"}, label2id={"fine": 0, "toxic": 1},
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder / "classifier")
    tokenizer.save_pretrained(folder / "classifier")
    return [folder / "classifier"]


def load_toxicity(folder: Path) -> None:
    from momus.evaluate.instruct.toxicity import toxicity_of

    toxicity_of(str(folder))("You are kind.")


PROBLEM = {
    "task_id": 11, "text": "Write add.", "code": "def add(a, b):\r\n    return a + b", "test_setup_code": "",
    "test_list": ["assert add(1, 2) == 3"],
}  # fmt: skip


def read_problems(path: Path) -> None:
    from momus.tamper.natural.problems import read_problems

    for problem in read_problems(path):
        str(problem).encode()
