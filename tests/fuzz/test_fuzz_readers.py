"""Every reader of a stranger's files over damaged ones: a result or one clear line, in bounded time and memory.

A case is a number, which decides the reader, the file and the damage: `MOMUS_FUZZ_FIRST=1234 MOMUS_FUZZ_CASES=1
pytest tests/fuzz` reads just that one again. `make fuzz` reads 10,000.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import momus
from support.fuzz_readers import READERS, names
from support.fuzz_worker import SECONDS, damaged, wrong_with
from support.mutations import NUMBERS

FIRST = int(os.environ.get("MOMUS_FUZZ_FIRST", "0"))
CASES = int(os.environ.get("MOMUS_FUZZ_CASES", "500"))
MOST_SHOWN = 40
MOST_NUMBERS = 25


def read_cases(root: Path, first: int, count: int) -> list[str]:
    """Read cases in child processes; return what went wrong. After a crash or a hang the next child goes on."""
    wrong, end = [], first + count
    errors = root / "stderr"
    while first < end and len(wrong) < MOST_SHOWN:
        with errors.open("w") as stderr:
            child = subprocess.run(
                [sys.executable, "-m", "support.fuzz_worker", str(root), str(first), str(end - first)],
                cwd=Path(__file__).parents[1],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0"},
                check=False,
            )
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        wrong += [line["found"] for line in lines if "found" in line]
        if child.returncode == 0:
            break
        at = next((line["begins"] for line in reversed(lines) if "begins" in line), None)
        assert at is not None, f"the reading process did not start: {errors.read_text(errors='replace')[-3000:]}"
        words = f"ended with {child.returncode} (more than {SECONDS} s of work, or a crash)"
        wrong.append(f"case {at}: {words}: {errors.read_text(errors='replace')[-2000:]}")
        first = at + 1
    return wrong


@pytest.mark.timeout(36_000 if CASES > 500 else 600)
def test_damaged_files_end_in_a_result_or_one_line(tmp_path: Path) -> None:
    wrong = read_cases(tmp_path, -len(READERS) if FIRST == 0 else FIRST, CASES + (len(READERS) if FIRST == 0 else 0))
    assert not wrong, f"{len(wrong)} cases:\n" + "\n".join(wrong)


SMALL = (
    "tasks", "tampers", "GROBID", "rubric", "given feedback", "calibration", "match calibration", "reviews", "labels",
    "systems", "prices", "task results", "sentence pairs", "given answers", "items to label",
    "server's reply", "ledger", "audit",
)  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_any_number_may_be_of_any_size(tmp_path: Path, name: str) -> None:
    [reader] = [reader for reader in READERS if reader.name == name]
    (tmp_path / "case").mkdir()
    wrong = []
    for seed in reader.seeds(tmp_path):
        data = seed.read_bytes()
        for match in list(re.finditer(rb"-?\d+(?:\.\d+)?", data))[:MOST_NUMBERS]:
            for number in NUMBERS:
                path = tmp_path / "case" / seed.name
                path.write_bytes(data[: match.start()] + number + data[match.end() :])
                if found := wrong_with(reader, path, whole=False):
                    wrong.append(f"{seed.name}, byte {match.start()}, {number[:20]!r}: {found}")
    assert not wrong, "\n".join(wrong[:5])


def test_a_case_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    readers = [
        reader for reader in READERS if reader.name in ("tasks", "critiques", "text documents", "word documents")
    ]
    for reader in readers:
        for number in range(5):
            one, other = (damaged(reader, tmp_path / name, number) for name in _folders(tmp_path))
            assert one.read_bytes() == other.read_bytes()


def _folders(root: Path) -> list[str]:
    for name in ("one", "other"):
        (root / name).mkdir(exist_ok=True)
    return ["one", "other"]


def test_every_reader_is_tried_in_a_run() -> None:
    assert len(names()) < 500
    assert len({reader.name for reader in READERS}) == len(READERS)


READS = re.compile(
    r"read_json\(|read_jsonl\(|json_lines\(|read_model\(|load_file\(|safe_open\(|tomllib\.load|from_pretrained\("
    r"|sqlite3\.connect\(|\.read_text\(|\.read_bytes\(|json\.load\("
)
"""How a file is read."""
COVERED = {
    "tasks": ("critics/run", "cli/shared/searching", "review/answers"),
    "tampers": (
        "cli/critique",
        "cli/data_critics",
        "cli/evaluate/critics",
        "cli/shared/truth",
        "train/pointers/data",
        "records/jsonl",
    ),
    "audit": ("cli/audit/judging",),
    "rain answers": ("cli/shared/rain_report",),
    "calibration": ("critics/calibration",),
    "match calibration": ("match/calibrate",),
    "reviews": ("match/reviews",),
    "data": ("data/arrow", "data/sources", "files/reading"),
    "rubric": ("documents/rubrics",),
    "given feedback": ("documents/drafts",),
    "GROBID": ("documents/readers/grobid",),
    "text documents": ("documents/child", "documents/readers/plain"),
    "systems": ("evaluate/instruct/systems",),
    "task results": ("evaluate/instruct/results",),
    "toxicity classifier": ("evaluate/instruct/toxicity",),
    "held-out texts": ("evaluate/instruct/texts",),
    "items to label": ("label/importing",),
    "label database": ("label/schema", "label/sqlite"),
    "answer cache": ("lm/chats/cache",),
    "prices": ("lm/chats/costs",),
    "GGUF header": ("lm/gguf",),
    "model": (
        "files/model_folder",
        "lm/codec",
        "lm/end_tokens",
        "lm/local/load",
        "lm/models",
        "lm/prompts",
        "train/bases",
    ),
    "adapter": ("lm/local/adapter_base", "lm/local/adapters"),
    "pointer": ("lm/pointers/pointer",),
    "line pointer": ("lm/pointers/line_pointer", "critics/pointed", "critics/scores/pointed", "critics/trained"),
    "run directory": ("runtime/runs", "files/log", "files/run_directory"),
    "pretraining texts": ("train/texts",),
    "problems": ("tamper/natural/problems",),
    "Python source": ("cli/tamper",),
    "patch": ("cli/review/options",),
    "review decisions": ("review/decisions",),
    "review settings": ("review/configuration", "review/lsp/settings"),
    "earlier review": ("review/memory",),
    "GitHub event": ("review/github/pull_request",),
}  # fmt: skip
"""The modules that read strangers' files, by the reader that tries them."""
OURS = {
    "files that come with the package": (
        "critics/prompted",
        "data/licences",
        "documents/second_opinion",
        "label/texts",
        "tamper/differential",
    ),
    "what the same command wrote": ("demo", "report/feedback", "tiny/pretrain", "train/rollout_server", "train/stages"),
    "read again by one reader of JSON": ("evaluate/instruct/reward_models", "runtime/sinks", "train/pointers/stage"),
    "a text that is taken as it is": ("cli/export", "cli/shared/prompting", "tiny/corpus"),
    "what a child process says": ("lm/text/render_child", "review/context/jedi_child", "review/context/python"),
    "the system": (
        "sandbox/escapes",
        "sandbox/run",
        "sandbox/testing",
        "sandbox/inside/compare",
        "sandbox/inside/escapes",
        "sandbox/inside/run_tests",
    ),
    "is asked for one key, and is no for anything else": ("critics/open",),
}  # fmt: skip
"""The others, and why they need no reader."""


def test_whatever_reads_a_file_is_tried() -> None:
    source = Path(momus.__file__).parent
    reading = {
        str(path.relative_to(source).with_suffix("")) for path in source.rglob("*.py") if READS.search(path.read_text())
    }
    known = {module for modules in (*COVERED.values(), *OURS.values()) for module in modules}
    assert COVERED.keys() <= {reader.name for reader in READERS}
    assert reading - known == set(), "add a reader to tests/support/fuzz_readers.py, or say here why it needs none"
    assert known - reading == set(), "does not read files any more"
