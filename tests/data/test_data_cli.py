"""`momus data` and what is under it: files of every kind, damaged ones, and records that come back as they went."""

import csv
import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.data import sources
from momus.data.answers import python_answer, tasks_of
from momus.data.arrow import saved_files
from momus.data.convert import BadRowsError, convert, read, recognise
from momus.data.formats import FORMATS
from momus.data.sources import Problem, Row, open_source
from momus.errors import UserError
from momus.records import Demonstration, Message, Origin, Ranking, read_jsonl, write_jsonl

PAIRS = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no"} for i in range(3)]
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows_of(path):
    return list(open_source(str(path)).rows())


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(lines(PAIRS))
    return path


def as_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def as_parquet(path, rows):
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)


def as_feather(path, rows):
    feather = pytest.importorskip("pyarrow.feather")
    feather.write_feather(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)


def as_saved(path, rows):
    """Write what `save_to_disk` writes of two splits, each an Arrow stream."""
    pyarrow = pytest.importorskip("pyarrow")
    ipc = pytest.importorskip("pyarrow.ipc")
    table = pyarrow.Table.from_pylist(rows)
    for split, part in (("train", table.slice(0, 2)), ("test", table.slice(2))):
        (path / split).mkdir(parents=True)
        with ipc.new_stream(path / split / "data-00000-of-00001.arrow", table.schema) as writer:
            writer.write_table(part)
        (path / split / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
        (path / split / "dataset_info.json").write_text('{"license": "mit"}')
    (path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')


WRITERS = {
    "a.jsonl": lambda path, rows: path.write_text(lines(rows)),
    "b.jsonl": lambda path, rows: path.write_bytes(b"\xef\xbb\xbf" + lines(rows).encode()),
    "c.jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress(lines(rows).encode())),
    "d.json": lambda path, rows: path.write_text(json.dumps(rows, indent=2)),
    "e.json": lambda path, rows: path.write_text("\n".join(json.dumps(row, indent=2) for row in rows)),
    "f.json.gz": lambda path, rows: path.write_bytes(gzip.compress(json.dumps(rows).encode())),
    "g.csv": as_csv,
    "h.parquet": as_parquet,
    "i": as_saved,
    "j.arrow": as_feather,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name):
    WRITERS[name](tmp_path / name, PAIRS)
    found = rows_of(tmp_path / name)
    assert [row.value for row in found] == PAIRS
    assert len({row.place for row in found}) == len(PAIRS)


def test_what_the_datasets_library_saves_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(PAIRS).save_to_disk(tmp_path / "saved")
    assert [row.value for row in rows_of(tmp_path / "saved")] == PAIRS


def test_a_data_set_of_the_hub(monkeypatch, capsys, tmp_path):
    """Through a stand-in for the hub's client: splits that stream, and a download that breaks off."""
    datasets = pytest.importorskip("datasets")

    def broken():
        yield PAIRS[2]
        raise ConnectionError("gone away\nfor good")

    class Split(list):
        info = datasets.DatasetInfo(license="mit")

    asked = []

    def load(path, configuration, streaming):
        asked.append((path, configuration, streaming))
        return {"train": Split(PAIRS[:2]), "test": Split(PAIRS[2:])}

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = open_source("some/pairs:first")
    assert source.licence == "mit"
    assert asked == [("some/pairs", "first", True)]
    places = ["some/pairs:first[train]:1", "some/pairs:first[train]:2", "some/pairs:first[test]:1"]
    assert list(source.rows()) == [Row(place, row) for place, row in zip(places, PAIRS, strict=True)]
    Split.__iter__ = lambda self: broken()
    assert main(["data", "convert", "some/pairs", "--out", str(tmp_path / "out.jsonl")]) == 2
    assert capsys.readouterr().err == "momus: error: some/pairs[train]: gone away\n"
    assert not (tmp_path / "out.jsonl").exists()


def test_places_are_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[\n {"a": 1},\n\n {"a":\n 2}, 3]')
    assert [row.place for row in rows_of(path)] == ["a.json:2 (item 1)", "a.json:4 (item 2)", "a.json:5 (item 3)"]
    table = tmp_path / "t.csv"
    table.write_text('a,b\n"x\ny",1\nz,2\n')
    assert [row.place for row in rows_of(table)] == ["t.csv:2", "t.csv:4"]


@QUICK
@given(
    st.lists(
        st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
    ),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
def test_an_array_is_read_the_same_whatever_the_size_of_the_chunks(tmp_path, monkeypatch, values, chunk, indent):
    path = tmp_path / "a.json"
    path.write_text(" " + json.dumps(values, indent=indent, ensure_ascii=False), encoding="utf-8")
    with monkeypatch.context() as patch:
        found = []
        if values:
            source = open_source(str(path))
            patch.setattr(sources, "_CHUNK", chunk + 1)
            found = [row.value for row in source.rows()]
    assert found == values


def test_a_watched_source_is_the_same_and_tells_every_thousandth_row():
    rows, counted = [Row(f"r:{number}", number) for number in range(2500)], []
    source = sources.watched(sources.Source("r", "", "", lambda: iter(rows)), counted.append)
    assert list(source.rows()) == rows
    assert counted == [1000, 2000]


DAMAGED = {
    "lfs.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "cut.jsonl.gz": (gzip.compress(lines(PAIRS * 500).encode())[:-20], "ends too early: download it again"),
    "bent.jsonl.gz": (gzip.compress(lines(PAIRS).encode())[:20] + b"\0" * 40, "damaged: download it again"),
    "empty.jsonl": (b" \n\n", "empty"),
    "cut.json": (json.dumps(PAIRS).encode()[:-9], "not JSON"),
    "open.json": (json.dumps(PAIRS).encode()[:-1], "the array does not end"),
    "packed.zip": (b"PK\x03\x04", "unpack it"),
    "wide.jsonl": ("{}".encode("utf-16"), "save it as UTF-8"),
    "words.txt": (b"some words", "neither JSON nor Parquet"),
    "twice.csv": (b"a,a\n1,2\n", "same name"),
    "bad.parquet": (b"PAR1 and nothing", "damaged Parquet"),
    "scalars.jsonl": (b"1\n2\n", "neither objects"),
    "alien.jsonl": (b'{"x": 1}\n', "no known format has the fields x"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told_in_one_line(tmp_path, capsys, name):
    content, words = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    assert main(["data", "inspect", str(tmp_path / name)]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("momus: error: ")
    assert shown.err.count("\n") == 1
    assert name in shown.err
    assert words in shown.err


BAD_LINES = [
    ('{"prompt": "q", "chosen": "a"}', "rejected: missing: add it"),
    ('{"prompt": "q", "chosen": "a", "rejected": 3}', "rejected: is a number: must be text"),
    ('{"prompt": "q", "chosen": "a", "rejected": NaN}', "NaN is not JSON: write null"),
    ('{"prompt": "q", "chosen": "a", "rejected": "\\ud800"}', "rejected: holds half a character"),
    ('{"prompt": "q", "chosen": "a", "rejected": "a"}', "chosen: the answers are the same"),
    ('{"prompt": [{"role": "boss", "content": ""}], "chosen": "a", "rejected": "b"}', "prompt[0].role: is 'boss'"),
    ('{"prompt": "q", "chosen": "a"', "not JSON"),
    ("[" * 100_000, "JSON nested too deeply"),
    ("[1]", "is not an object"),
]


@pytest.mark.parametrize(("line", "words"), BAD_LINES)
def test_a_bad_row_is_told_with_file_line_and_field(pairs, tmp_path, capsys, line, words):
    pairs.write_text(lines(PAIRS) + line + "\n" + lines(PAIRS))
    out = tmp_path / "out.jsonl"
    assert main(["data", "convert", str(pairs), "--out", str(out)]) == 2
    assert f"pairs.jsonl:4: {words}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
    assert main(["data", "convert", str(pairs), "--out", str(out), "--skip-bad"]) == 0
    assert len(list(read_jsonl(out, Ranking))) == 6
    assert "left out: pairs.jsonl:4" in capsys.readouterr().err


def test_the_first_twenty_problems_are_shown_and_the_others_counted(pairs, tmp_path, capsys):
    pairs.write_text(lines(PAIRS) + "{}\n" * 25)
    assert (
        main(["data", "convert", str(pairs), "--out", str(tmp_path / "out.jsonl"), "--format", "trl-preference"]) == 2
    )
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 22
    assert error[20].endswith("5 more bad rows")


def test_csv_problems(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("prompt,chosen,rejected\nq,a\nq,a,b\n")
    first, second = rows_of(path)
    assert str(first) == "t.csv:2: 2 cells, but the header names 3 columns"
    assert second == Row("t.csv:3", {"prompt": "q", "chosen": "a", "rejected": "b"})


def test_inspect_says_what_there_is(tmp_path, capsys):
    common = {"winner": "tie", "model_a": "x", "model_b": "y", "turn": 1, "judge": "me", "license": "cc-by-nc-4.0"}
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a\u001b"}]
    other = [talk[0], {"role": "assistant", "content": ""}]
    path = tmp_path / "arena.jsonl"
    path.write_text(lines([{**common, "conversation_a": talk, "conversation_b": other}]) + "{}\n")
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Card\n")
    assert main(["data", "inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    words = ("lmsys (it has winner, conversation_a and conversation_b)", "1 Ranking", "1 of 2; 1 rankings with ties")
    for expected in (
        *words,
        "me (1)",
        "cc-by-nc-4.0 (1) (no commercial use)",
        "1 answers",
        "arena.jsonl:2: winner: missing",
    ):
        assert expected in shown
    assert "\u001b" not in shown


def test_licences_are_carried(pairs, tmp_path):
    out = tmp_path / "out.jsonl"
    pairs.write_text(lines([{**PAIRS[0], "license": "mit"}, PAIRS[1]]))
    (tmp_path / "README.md").write_text("---\nlicense:\n- apache-2.0\n---\n")
    assert main(["data", "convert", str(pairs), "--out", str(out)]) == 0
    assert [record.origin.licence for record in read_jsonl(out, Ranking)] == ["mit", "apache-2.0"]
    assert main(["data", "convert", str(pairs), "--out", str(out), "--licence", "odc-by"]) == 0
    assert [record.origin.licence for record in read_jsonl(out, Ranking)] == ["mit", "odc-by"]


def test_several_kinds_must_be_chosen_from(tmp_path, capsys):
    path, out = tmp_path / "mixed.jsonl", tmp_path / "out.jsonl"
    ranking = Ranking(prompt="q", candidates=("a", "b"), ranks=(1, 1))
    write_jsonl(path, [ranking, Demonstration(prompt="q", answer="a")])
    assert main(["data", "convert", str(path), "--out", str(out)]) == 2
    assert "holds rankings and demonstrations: choose with --kind" in capsys.readouterr().err
    assert not out.exists()
    assert main(["data", "convert", str(path), "--out", str(out), "--kind", "rankings"]) == 0
    assert [ranking.ranks for ranking in read_jsonl(out, Ranking)] == [(1, 1)]
    assert main(["data", "convert", str(path), "--out", str(path)]) == 2
    assert main(["data", "convert", str(path), "--out", str(out), "--kind", "prompts"]) == 2


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
message = st.builds(Message, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=text)
content = text | st.lists(message, max_size=3).map(tuple)


@st.composite
def rankings(draw):
    size = draw(st.integers(2, 9))
    several = lambda element: st.lists(element, min_size=size, max_size=size).map(tuple)  # noqa: E731
    return Ranking(
        prompt=draw(content),
        candidates=draw(several(content)),
        ranks=draw(several(st.integers(1, size))),
        labeler=draw(text),
        scores=draw(st.just(()) | several(st.floats(-10, 10))),
        authors=draw(st.just(()) | several(text)),
        confidence=draw(st.none() | st.floats(0, 9)),
        origin=Origin(format="f", place="p", licence="l", group=draw(text)),
    )


@QUICK
@given(st.lists(rankings(), min_size=1, max_size=4))
def test_rankings_come_back_k_wise_with_ties(tmp_path, records):
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_jsonl(path, records)
    convert(*recognise(str(path)), out)
    assert list(read_jsonl(out, Ranking)) == records


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    *("prompt", "chosen", "rejected", "completion", "completions", "label", "labels", "messages", "text"),
    *("conversations", "instruction", "input", "output", "output_1", "output_2", "preference", "info", "summaries"),
    *("choice", "summary", "question", "winner", "conversation_a", "conversation_b", "turn", "response_a"),
    *("response_b", "winner_tie", "winner_model_a", "winner_model_b", "fields", "responses", "q.responses"),
    *("message_id", "parent_id", "message_tree_id", "role", "ideal", "schema_version", "candidates", "ranks"),
    *("examples", "inputs", "targets", "source", "target", "task_name", "is_correct", "id", "definition"),
    *("transcript", "rating", "history", "system", "score_chosen", "values", "answer"),
)
shaped = st.sampled_from(
    [
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        [{"from": "gpt", "value": None}],
        "\n\nHuman: a\n\nAssistant: b",
        {"steps": [{"completions": [{"text": "s", "rating": 2}]}], "problem": "p", "axes": {}, "text": "t"},
        [{"user_id": "u", "value": [{"rank": 1, "value": "prompt"}], "status": "submitted"}],
        [{"annotations": {"a": {"Rating": "N/A"}}, "response": "r"}],
        [{"query": "q", "response": "a"}],
        {"replies": [{"role": "assistant", "text": "t", "rank": "x"}], "role": "prompter", "text": "t"},
        "tie",
        1,
    ]
)
bad_row = st.dictionaries(st.sampled_from(FIELDS), shaped | junk, max_size=8)


@settings(max_examples=300, deadline=None)
@given(bad_row | junk)
def test_no_row_is_a_traceback(value):
    for known in FORMATS:
        if isinstance(value, known.row_type):
            assert known.detect(value) in (True, False)
        source = sources.Source("rows", "", "", lambda: iter([Row("rows:1", value)]))
        for item in read(source, known):
            if isinstance(item, Problem):
                assert str(item).startswith("rows:1: ")
            else:
                item.model_dump_json()


@QUICK
@given(st.binary(max_size=80), st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.gz", "a.parquet", "a.txt"]))
def test_no_file_is_a_traceback(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    try:
        convert(*recognise(str(path)), tmp_path / "out.jsonl")
    except (UserError, BadRowsError) as error:
        assert name in str(error)


CODE = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (f"Here:\n```python\n{CODE}```\n", CODE.rstrip()),
        (f"```\n{CODE}```", CODE.rstrip()),
        (f"```python\n{CODE}", CODE.rstrip()),
        (f"```py\nx = 1\n```\n```py\n{CODE}```", CODE.rstrip()),
        (f"One\n\ntwo\n```python\n{CODE}```", CODE.rstrip()),
        (f"One\n\ntwo\n\nthree\n```python\n{CODE}```", None),
        ("```js\nlet x = 1;\nlet y = 2;\n```", None),
        ("```\nhello\n```", None),
        (CODE, None),
        ("", None),
    ],
)
def test_code_is_taken_from_responses_at_least_half_python(response, answer):
    assert python_answer(response) == answer


def test_chat_logs_become_tasks(tmp_path):
    path, out = tmp_path / "logs.jsonl", tmp_path / "tasks.jsonl"
    talk = [("human", "Hi"), ("gpt", "Hello"), ("human", "Double it."), ("gpt", f"```python\n{CODE}```")]
    path.write_text(lines([{"conversations": [{"from": who, "value": text} for who, text in talk]}]))
    assert main(["data", "convert", str(path), "--out", str(out), "--kind", "tasks"]) == 0
    [task] = map(json.loads, out.read_text().splitlines())
    assert (task["id"], task["question"], task["answer"]) == ("logs.jsonl:1#3", "Double it.", CODE.rstrip())


def test_a_demonstration_of_plain_text_becomes_a_task():
    demonstration = Demonstration(prompt="Double it.", answer=f"```python\n{CODE}```", origin=Origin(place="f:1"))
    assert [task.question for task in tasks_of(demonstration)] == ["Double it."]


@pytest.mark.parametrize(("file", "text"), [
    ("state.json", {"_data_files": [{"filename": "9" * 4000 + ".arrow"}]}),
    ("state.json", {"_data_files": [{"filename": "gone.arrow"}]}),
    ("dataset_dict.json", {"splits": ["9" * 4000]}), ("dataset_dict.json", {"splits": ["gone"]}),
])  # fmt: skip
def test_a_saved_data_set_that_names_what_is_not_there_is_one_short_line(tmp_path, file, text):
    (tmp_path / file).write_text(json.dumps(text))
    with pytest.raises(UserError) as refused:
        saved_files(tmp_path)
    assert "save the data set again" in str(refused.value) and len(str(refused.value)) < 500
