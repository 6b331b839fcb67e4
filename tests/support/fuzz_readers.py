"""Every reader of a stranger's files: what it is called, whole files for it, and how it is called."""

from __future__ import annotations

import csv
import gzip
import inspect
import json
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import momus
from support import fuzz_reviews as reviews
from support import fuzz_stores as stores
from support import papers
from support.label_items import TAMPER, TASK

SHARED = Path(__file__).parents[3] / "shared" / "data"
"""Real files, where they are at hand."""

MOST_OF_REAL = 100_000
"""Bytes that are taken of a real file."""


@dataclass(frozen=True)
class Reader:
    """A reader, and what makes whole files or folders for it in a folder and returns them.

    Attributes:
        weight: How often it is tried, beside the others.
        real: Files below `SHARED`: of a large text only its first lines are taken.
    """

    name: str
    read: Callable[[Path], object]
    seeds: Callable[[Path], Sequence[Path]]
    weight: int = 2
    real: tuple[str, ...] = ()


def real_seeds(reader: Reader, folder: Path) -> list[Path]:
    """Copy real files that are at hand into a folder."""
    copied = []
    for name in reader.real:
        if not (SHARED / name).exists():
            continue
        target = folder / "real" / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix in (".jsonl", ".csv", ".tsv"):
            data = (SHARED / name).read_bytes()
            target.write_bytes(data[: data.find(b"\n", min(MOST_OF_REAL, len(data) - 1)) + 1])
        elif target.suffix == ".gz":
            data = gzip.decompress((SHARED / name).read_bytes())
            most = data.find(b"\n", MOST_OF_REAL) + 1 if name.endswith(".jsonl.gz") else len(data)
            target.write_bytes(gzip.compress(data[:most], mtime=0))
        elif (SHARED / name).is_dir():
            shutil.copytree(SHARED / name, target)
        else:
            target.write_bytes((SHARED / name).read_bytes())
        copied.append(target)
    return copied


def named_texts(files: Mapping[str, str]) -> Callable[[Path], Sequence[Path]]:
    """Return what writes these files, by their names, into a folder."""

    def write(folder: Path) -> Sequence[Path]:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return [folder / name for name in files]

    return write


def texts(**files: str) -> Callable[[Path], list[Path]]:
    """Return what writes texts as files; a `__` in a name is its dot."""

    def write(folder: Path) -> list[Path]:
        paths = [folder / name.replace("__", ".") for name in files]
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths

    return write


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


ASK, YES, NO = turn("user", "Is it?"), turn("assistant", "Yes. 네."), turn("assistant", "No.")
CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
ROWS: dict[str, Sequence[Any]] = {
    "preference__jsonl": [{"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 8, "score_rejected": 5.5}],
    "conversational__jsonl": [{"prompt": [ASK], "chosen": [YES], "rejected": [NO], "labeler": "x", "licence": "mit"}],
    "messages__jsonl": [{"messages": [turn("system", "Be brief."), ASK, {**YES, "weight": 0}], "tools": [TOOL]}],
    "tools__jsonl": [
        {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}, turn("tool", "3"), YES]}
    ],
    "stepwise__jsonl": [{"prompt": "Which?", "completions": ["Compare.", "So 9."], "labels": [True, False]}],
    "hh__jsonl": [{"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No"}],
    "alpaca__jsonl": [{"instruction": "Add.", "input": "1, 2", "output": "3"}],
    "sharegpt__jsonl": [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}],
    "openai__jsonl": [
        {"input": {"messages": [ASK]}, "preferred_output": [YES], "non_preferred_output": [NO]},
        {"input": [ASK], "ideal": ["Yes.", "Yes"]},
    ],
    "arena__jsonl": [
        {"question_id": "1", "model_a": "x", "model_b": "y", "winner": "tie", "judge": "j", "language": "English",
         "conversation_a": [ASK, YES], "conversation_b": [ASK, NO]}
    ],
    "nectar__jsonl": [
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2.0}]}
    ],
    "oasst__jsonl": [
        {"message_tree_id": "1", "tree_state": "ready", "prompt": {
            "message_id": "1", "text": "Hi", "role": "prompter", "lang": "en", "replies": [
                {"message_id": "2", "text": "a", "role": "assistant", "rank": 0, "replies": []},
                {"message_id": "3", "text": "b", "role": "assistant", "rank": 1, "replies": []}]}}
    ],
    "ultrafeedback__jsonl": [
        {"source": "x", "instruction": "Hi", "models": ["m", "n"], "completions": [
            {"model": name, "response": name, "overall_score": score,
             "annotations": {"helpfulness": {"Rating": "4", "Rationale": "r"}}}
            for name, score in (("m", 7.5), ("n", 3))]}
    ],
    "mbpp__jsonl": [{"text": "Add.", "code": "def f(a, b):\r\n  return a", "task_id": 3, "test_list": ["assert 1"]}],
    "prompts__jsonl": ["one", "two\u2028three"],
    "momus__jsonl": [
        {"schema_version": 1, "prompt": "p", "candidates": ["a", "b"], "ranks": [1, 2], "labeler": "x"},
    ],
    "array__json": [[{"prompt": "q", "completion": "a"}, {"prompt": "p", "completion": "b"}]],
    "one__json": [{"prompt": "q", "completion": "a", "label": True}],
}  # fmt: skip


def data_seeds(folder: Path) -> list[Path]:
    import pyarrow
    import pyarrow.feather
    import pyarrow.ipc
    import pyarrow.parquet

    paths = texts(**{name: lines(*rows) for name, rows in ROWS.items()})(folder)
    rows = [{"prompt": f"question {i}", "chosen": [YES], "rejected": [NO], "score": i / 7} for i in range(40)]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, folder / "rows.parquet", compression="none")
    pyarrow.feather.write_feather(table, folder / "rows.arrow", compression="uncompressed")
    saved = folder / "saved"
    saved.mkdir()
    with pyarrow.ipc.new_stream(saved / "data-0.arrow", table.schema) as stream:
        stream.write_table(table)
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}], "_split": "train"}))
    (saved / "dataset_info.json").write_text(json.dumps({"license": "mit", "features": {}}))
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["prompt", "completion", "label"], ['a "b"\nc', "x, y", "True"], ["q", "r", "False"]]
        )
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(lines(*rows[:5]).encode(), mtime=0))
    return [
        *paths,
        folder / "rows.parquet",
        folder / "rows.arrow",
        saved,
        folder / "rows.csv",
        folder / "rows.jsonl.gz",
    ]


def read_data(path: Path) -> None:
    from momus.data.convert import read, recognise, summarise
    from momus.data.sources import Problem

    source, source_format = recognise(str(path))
    for item in read(source, source_format):
        str(item) if isinstance(item, Problem) else item.model_dump_json().encode()
    summarise(source, source_format)


def records(kind: Callable[[], type[Any]]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from momus.records import read_jsonl

        for record in read_jsonl(path, kind()):
            record.model_dump_json().encode()

    return read


def _tamper() -> type[Any]:
    from momus.records import Tamper

    return Tamper


def _rain_answer() -> type[Any]:
    from momus.search.rain.dataset import RainAnswer

    return RainAnswer


def read_audit(path: Path) -> None:
    from momus.evaluate.critics.audit import Audited
    from momus.evaluate.critics.sheet import SheetItem, SheetJudgement
    from momus.records import read_jsonl

    kinds: dict[str, type[Any]] = {"audit": Audited, "sheet": SheetItem, "judgements": SheetJudgement}
    for row in read_jsonl(path, kinds[path.stem]):
        row.model_dump_json().encode()


AUDIT: dict[str, str] = {
    "audit__jsonl": lines({"schema_version": 1, "task": TASK, "strength": 0.5, "problem": "", "number": 1}),
    "sheet__jsonl": lines({"title": "Answer 1", "text": "So.", "questions": [{"name": "problem", "text": "Is it?"}]}),
    "judgements__jsonl": lines({"title": "Answer 1", "labeler": "kim", "values": {"problem": "yes"}, "seconds": 3.5}),
}


def read_tasks(path: Path) -> None:
    from momus.critics.run import read_records

    for record in read_records(path, path.read_bytes()):
        record.model_dump_json().encode()


PARAGRAPHS = [
    ("Title", "A title of 2024"), ("heading 1", "1 Introduction"), ("Normal", "We show 3.5% more. 한글 문장이다."),
    ("heading 2", "1.1 Method"), ("Normal", "See Figure 1 and [2]."), ("caption", "Figure 1: A caption"),
    ("heading 1", "References"), ("Normal", "[1] A. Author. A paper. 2020."),
]  # fmt: skip
TABLE = (
    "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>"
)
MARKDOWN = """# A title

Some *emphasis*, `code`, [a link](http://x.y "t") and ![an image](a.png). 한글도 있다.

## A part

1. One
   - two
     > quoted
2. Three

| a | b |
|---|---|
| 1 | 2 |

<div><p>HTML &amp; <b>bold</b><br/><!-- a comment --><table><tr><td>x</td></tr></table></div>

```python
print(1)
```

$$x^2 + \\frac{1}{2}$$ and[^1]

[^1]: a footnote
"""
TEI = """<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>T</title></titleStmt>
</fileDesc></teiHeader><facsimile><surface n="1" ulx="0.0" uly="0.0" lrx="612.0" lry="792.0"/></facsimile><text><body>
<div><head n="1" coords="1,72.0,100.0,90.5,12.0">Intro</head><p coords="1,72.0,120.0,400.0,12.0;1,72,134,400,12">
Some text <ref>1</ref>.</p></div><figure><head>Figure 1</head><figDesc>A caption</figDesc></figure></body>
</text></TEI>"""


def word_seeds(folder: Path) -> list[Path]:
    return [papers.docx(folder / "a.docx", PARAGRAPHS, TABLE), papers.hwpx(folder / "a.hwpx", PARAGRAPHS, sections=2)]


def pdf_seeds(folder: Path) -> list[Path]:
    text = papers.column([f"Line {i} of a page, with words." for i in range(30)], 72, 700)
    return [papers.pdf(folder / "a.pdf", [[(72, 730, 16, True, "A title"), *text], text])]


def read_in_process(path: Path) -> None:
    """Do what the child process of `read_document` does."""
    from momus.documents.child import read
    from momus.documents.limits import Limits
    from momus.documents.structure import structure

    blocks = read(path, Limits())
    structure(blocks, path.name, "0").model_dump_json().encode()


def read_pdf(path: Path) -> None:
    from momus.documents.reading import read_document

    read_document(path).model_dump_json().encode()


def read_tei(path: Path) -> None:
    from momus.documents.readers.grobid import _measures, _parsed, _pieces

    list(_pieces(root := _parsed(path, path.read_bytes(), "http://x"), _measures(root)))


def read_rubric(path: Path) -> None:
    from momus.documents.rubrics import read_rubric

    read_rubric(str(path)).model_dump_json().encode()


def rubric_seeds(folder: Path) -> list[Path]:
    shipped = Path(momus.__file__).parent / "documents" / "rubrics"
    return [Path(shutil.copy(file, folder)) for file in sorted(shipped.glob("*.toml"))]


def read_given(path: Path) -> None:
    from momus.documents.drafts import read_given
    from momus.documents.rubrics import read_rubric
    from support.feedback import document

    read_given(path, document([["This is a paragraph."]]), read_rubric("paper"), "en")


def given_seeds(folder: Path) -> list[Path]:
    from momus.documents.rubrics import read_rubric
    from support.feedback import answer

    (folder / "given.json").write_text(answer("paper", ""))
    form = read_rubric("paper")
    written = "".join(
        f"## {section.title.en}\n\n1. This is a point about the paper.\n   - Detail.\n   > quote — p. 3\n\n"
        for section in form.sections
    )
    scores = "".join(f"| {score.title.en} | {score.high} / {score.high} |\n" for score in form.scores)
    (folder / "given.md").write_text(f"# Feedback\n\n| | |\n|---|---|\n{scores}\n{written}")
    return [folder / "given.json", folder / "given.md"]


def read_feedback(path: Path) -> None:
    from momus.documents.drafts import read_feedback

    read_feedback(path).model_dump_json().encode()


INTERVAL = {"value": 0.5, "low": 0.25, "high": 0.75}
CALIBRATION = {
    "critic": {"kind": "trained", "model": "m"}, "data": "d", "inserted": True, "answers": 3, "clean": 1, "bugs": 2,
    "points": [{"setting": 0.5, "false_alarms": INTERVAL, "caught": INTERVAL, "comments": INTERVAL}],
}  # fmt: skip
MATCH_CALIBRATION = {
    "matcher": {"kind": "lexical"}, "data": "d", "same_from": 1, "documents": 3, "pairs": 9, "same": 2, "failed": 0,
    "threshold": 0.5, "lowest": 0.4, "highest": 0.6, "precision": INTERVAL, "recall": INTERVAL, "f1": INTERVAL,
    "auc": 0.9, "average_precision": 0.8,
}  # fmt: skip
REVIEWS = lines(
    {"document": "d", "reviewer": "r", "kind": "person", "text": "A review.\nIt is good.", "strata": {"venue": "x"}},
    {"document": "d", "reviewer": "s", "kind": "model", "points": [{"text": "One."}, {"text": "둘."}]},
)
LABELS = lines({"document": "d", "first": ["a", "b"], "second": ["c"], "labels": [[1], [0.5]]})
KLUE = [{"guid": "g", "sentence1": "가", "sentence2": "나", "labels": {"real-label": 3.5, "binary-label": 1}}] * 3
SYSTEMS = '[base]\nmodel = "m"\n\n[chat]\nmodel = "n"\nurl = "http://x/v1"\ntemperature = 0.5\nmax_tokens = 128\n'
PRICES = '["m"]\nread = 0.25\nwritten = 2.00\ncurrency = "USD"\n'
RESULT = {
    "task": "t",
    "metric": "em",
    "better": "high",
    "items": {"a": 1.0, "b": 0.0},
    "shots": 2,
    "groups": {"a": "g"},
}


def read_calibration(path: Path) -> None:
    from momus.critics.calibration import read_calibration
    from momus.errors import UserError

    calibration = read_calibration(path)
    for most in (0.0, 0.5, 10.0):
        try:
            calibration.promise(most)
        except UserError as error:
            assert str(error)  # that nothing can be promised is an answer


def read_match_calibration(path: Path) -> None:
    from momus.match.calibrate import read_scale

    read_scale(path, {"kind": "lexical"})


def read_reviews(path: Path) -> None:
    from momus.match.reviews import read_reviews

    for review in read_reviews(path):
        review.model_dump_json().encode()


def read_points(path: Path) -> None:
    from momus.match.reviews import read_points

    "\n".join(read_points(path)).encode()


def read_labels(path: Path) -> None:
    from momus.match.reviews import read_labels

    read_labels(path)


def read_systems(path: Path) -> None:
    from momus.evaluate.instruct.systems import read_systems

    read_systems(path)


def read_prices(path: Path) -> None:
    from momus.lm.chats.costs import read_prices

    read_prices(path, "m")


def read_results(path: Path) -> None:
    from momus.evaluate.instruct.results import read_results

    list(read_results(path))


def read_pairs(path: Path) -> None:
    from momus.evaluate.instruct.bias import read_crows_pairs, read_winogender

    (read_winogender if path.suffix == ".tsv" else read_crows_pairs)(path)


def pair_seeds(folder: Path) -> list[Path]:
    sentences = "".join(f"nurse.patient.{i}.{g}.txt\tThe nurse told {g}.\n" for i in (0, 1) for g in ("male", "female"))
    return texts(
        pairs__csv=',sent_more,sent_less,stereo\n0,"They, who, were",Others were,x\n1,More,Less,y\n',
        sentences__tsv=f"sentid\tsentence\n{sentences}",
    )(folder)


def read_held_out(path: Path) -> None:
    from momus.evaluate.instruct.texts import read_passages

    read_passages(path)


def read_answers(path: Path) -> None:
    from momus.evaluate.instruct.answers import score_answers

    score_answers([str(path)])


ANSWERS = "".join(
    f'm{system},fewshot,"Passage: it was {item}. Question: which?", 42,41|42\n'
    for system in (1, 2)
    for item in range(5)
)


def read_items(path: Path) -> None:
    from momus.label.importing import read_items

    for item in read_items(str(path), path.stem.split("-")[0], 1, "real"):
        json.dumps(item.payload, ensure_ascii=False).encode()


def item_seeds(folder: Path) -> list[Path]:
    from momus.label.importing import demo_items

    for item in demo_items():
        (folder / f"{item.kind}.jsonl").write_text(lines(item.payload))
    (folder / "critique-tasks.jsonl").write_text(lines({**TASK, "schema_version": 1}))
    return sorted(folder.glob("*.jsonl"))


def read_source(path: Path) -> None:
    import random

    from momus.errors import UserError
    from momus.review.files import read_source
    from momus.review.reviewer import tasks_of
    from momus.tamper.insert import tamper

    for task in tasks_of(read_source(path), lambda task: len(task.answer) < 3000)[0][:3]:
        try:
            made = tamper(task, 1, random.Random(0))
        except UserError:  # a part of a function that does not parse by itself
            continue
        if made is not None:
            made.model_dump_json()


def source_seeds(folder: Path) -> list[Path]:
    for module in (textwrap, json.decoder):
        (folder / f"{module.__name__}.py").write_text(inspect.getsource(module))
    code = "name = 'é'\r\n\r\n\r\ndef f(a, b=1):\n\tif a:\x0c\n\t\treturn a[b:]\n\treturn f'{a!r:>{b}}'\n"
    latin = f"# -*- coding: latin-1 -*-\n{code}"
    (folder / "latin.py").write_bytes(latin.encode("latin-1"))
    return sorted(folder.glob("*.py"))


CRITIQUE = (
    "Before.\n\n```L2-error\n    if a is None:\n```\nShould be `b`.\n\n````\nreturn a\n````\nWrong.\n\nClosing remark."
)
COMMENTS = (
    'So:\n```json\n{"comments": [{"quote": "return b", "line": 3, "severity": "major", "comment": "Wrong."},]}\n```'
)
DIFF = "--- a/f.py\n+++ b/f.py\n@@ -1,3 +1,3 @@\n def f(a, b):\n-    if a is None:\n+    if b is None:\n"


def read_critique(path: Path) -> None:
    from momus.critics.reading import read_comments
    from momus.critique import format_critique, parse_critique

    text = path.read_bytes().decode("utf-8", "replace")
    format_critique(parse_critique(text, TASK["answer"])).encode()
    if (critique := read_comments(text, TASK["answer"])) is not None:
        format_critique(critique).encode()


REPLY = {
    "choices": [{"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop", "index": 0,
                 "logprobs": {"content": [{"token": "Yes", "logprob": -0.5, "bytes": [89], "top_logprobs": []}]}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1}, "model": "m",
}  # fmt: skip


def read_reply(path: Path) -> None:
    from momus.errors import UserError
    from momus.lm.remote.wire import read_reply

    try:
        body = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # as the connection does
        raise UserError("no JSON") from error
    read_reply(body).text.encode()


def gguf_seeds(folder: Path) -> list[Path]:
    from support.gguf import qwen2, tokenizer, write_gguf

    tokens = tokenizer()
    write_gguf(folder / "m.gguf", qwen2(len(tokens)), tokens, quantised=False)
    return [folder / "m.gguf"]


def read_gguf(path: Path) -> None:
    from momus.lm.gguf import read_header

    read_header(path)


def model_seeds(folder: Path) -> list[Path]:
    from momus.lm.models import save_causal_lm
    from support.tiny import tiny_model, tiny_tokenizer

    save_causal_lm(tiny_model(), folder / "model", tiny_tokenizer())
    return [folder / "model"]


def adapter_seeds(folder: Path) -> list[Path]:
    from peft import LoraConfig, get_peft_model

    from momus.lm.models import load_causal_lm, save_causal_lm
    from support.tiny import tiny_model, tiny_tokenizer

    base = folder / "base"
    save_causal_lm(tiny_model(), base, tiny_tokenizer())
    adapted = get_peft_model(load_causal_lm(base), LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(folder / "adapter")
    tiny_tokenizer().save_pretrained(folder / "adapter")
    return [folder / "adapter"]


def reward_seeds(folder: Path) -> list[Path]:
    from momus.lm.models import RewardModel
    from support.tiny import tiny_model, tiny_tokenizer

    RewardModel.from_causal_lm(tiny_model()).save(folder / "reward", tokenizer=tiny_tokenizer())
    return [folder / "reward"]


def load_model(folder: Path) -> None:
    from momus.lm.end_tokens import read_end_tokens
    from momus.lm.local.load import load_local_engine

    engine = load_local_engine(folder)
    read_end_tokens(folder, engine.tokenizer)
    engine.score([1, 2], [[3]])


def load_adapted(folder: Path) -> None:
    from momus.lm.local.load import load_local_engine

    load_local_engine(folder).score([1, 2], [[3]])


def load_reward(folder: Path) -> None:
    from momus.lm.models import RewardModel, load_tokenizer

    RewardModel.load(folder)
    load_tokenizer(folder)


def read_cache(path: Path) -> None:
    from momus.lm.chats.cache import AnswerCache

    cache = AnswerCache(path)
    cache.get(["a", "b"])
    cache.put({})


def cache_seeds(folder: Path) -> list[Path]:
    from momus.lm.chats.cache import AnswerCache
    from momus.lm.chats.protocol import Answer

    cache = AnswerCache(folder / "answers.sqlite")
    cache.put({"a": Answer("yes"), "b": Answer("no " * 500)})
    return [folder / "answers.sqlite"]


def read_ledger(path: Path) -> None:
    from momus.files.ledger import Ledger

    with Ledger(path, {"seed": 1}) as ledger:
        for key in ledger:
            json.dumps([key, ledger[key]])


LEDGER = lines({"settings": {"seed": 1}}, {"key": "a", "value": 0.5}, {"key": "b", "value": {"x": [1, "y"]}})
RAIN = lines({"schema_version": 1, "index": 0, "prompt": [ASK], "answer": "a", "met": True, "iterations": 3})

READERS: tuple[Reader, ...] = (
    Reader("data", read_data, data_seeds, 12, (
        "oasst/en_100_tree.jsonl", "hh-rlhf/harmless-base-test.jsonl.gz", "mbpp/mbpp.jsonl",
        "oasst/prompt_lottery_en_250_text.jsonl")),
    Reader("tasks", read_tasks, texts(tasks__jsonl=lines(TASK, TAMPER))),
    Reader("tampers", records(_tamper), texts(tampers__jsonl=lines(TAMPER))),
    Reader("audit", read_audit, texts(**AUDIT), 1),
    Reader("rain answers", records(_rain_answer), texts(answers__jsonl=RAIN), 1),
    Reader("word documents", read_in_process, word_seeds, 6),
    Reader("text documents", read_in_process, texts(a__md=MARKDOWN, a__txt=MARKDOWN), 4),
    Reader("PDF", read_pdf, pdf_seeds, 2, ("pdf/quixbugs.pdf",)),
    Reader("GROBID", read_tei, texts(a__xml=TEI)),
    Reader("rubric", read_rubric, rubric_seeds),
    Reader("given feedback", read_given, given_seeds),
    Reader("calibration", read_calibration, texts(c__json=json.dumps(CALIBRATION))),
    Reader("match calibration", read_match_calibration, texts(c__json=json.dumps(MATCH_CALIBRATION))),
    Reader("reviews", read_reviews, texts(r__jsonl=REVIEWS, d_r__txt=MARKDOWN), 2, ("marg/lizca",)),
    Reader("points", read_points, texts(p__json='["One.", "둘."]', p__txt="- One.\n- 둘.\n"), 1),
    Reader("labels", read_labels, texts(l__jsonl=LABELS, klue__json=json.dumps(KLUE)), 2, (
        "klue/klue-sts-v1.1_dev.json",)),
    Reader("systems", read_systems, texts(s__toml=SYSTEMS)),
    Reader("prices", read_prices, texts(p__toml=PRICES), 1),
    Reader("task results", read_results, texts(results__jsonl=lines(RESULT)), 1),
    Reader("sentence pairs", read_pairs, pair_seeds, 2, ("crows-pairs/crows_pairs_anonymized.csv",)),
    Reader("held-out texts", read_held_out, texts(t__txt="One.\n\nTwo.\n", q__jsonl='{"text": "Three."}\n')),
    Reader("given answers", read_answers, texts(drop__csv=f"system,style,question,answer,references\n{ANSWERS}"), 2, (
        "instructgpt-samples/drop_samples.csv.gz", "instructgpt-samples/truthful_qa_samples.csv.gz")),
    Reader("items to label", read_items, item_seeds, 4),
    Reader("Python source", read_source, source_seeds, 6),
    Reader("critiques", read_critique, texts(a__md=CRITIQUE, b__json=COMMENTS, c__diff=DIFF), 4),
    Reader("server's reply", read_reply, texts(reply__json=json.dumps(REPLY))),
    Reader("GGUF header", read_gguf, gguf_seeds, 3),
    Reader("model", load_model, model_seeds, 3),
    Reader("adapter", load_adapted, adapter_seeds, 2),
    Reader("reward model", load_reward, reward_seeds, 2),
    Reader("answer cache", read_cache, cache_seeds),
    Reader("ledger", read_ledger, texts(ledger__jsonl=LEDGER)),
    Reader("problems", stores.read_problems, texts(problems__jsonl=lines(stores.PROBLEM)), 1, ("mbpp/mbpp.jsonl",)),
    Reader("run directory", stores.resume_run, stores.run_seeds, 3),
    Reader("label database", stores.read_store, stores.label_seeds, 3),
    Reader("pretraining texts", stores.read_pretraining, texts(a__txt=MARKDOWN, a__jsonl=lines({"prompt": "q"}))),
    Reader("pointer", stores.load_pointer, stores.pointer_seeds),
    Reader("line pointer", stores.load_line_pointer, stores.line_pointer_seeds),
    Reader("toxicity classifier", stores.load_toxicity, stores.classifier_seeds),
    *(Reader(name, read, named_texts(files)) for name, (read, files) in reviews.TEXTS.items()),
)  # fmt: skip


def names(readers: Iterable[Reader] = READERS) -> list[str]:
    """Return the readers' names, each as often as it is tried in a round."""
    return [reader.name for reader in readers for _ in range(reader.weight)]
