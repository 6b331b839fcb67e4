"""Records in, judgements out: the loop from tampers over critiques to comparisons, and what is refused on the way."""

import json
from random import Random

import pytest

from momus.cli import main
from momus.critique import parse_critique
from momus.errors import UserError
from momus.evaluate.critics.audit import Audited
from momus.evaluate.critics.sheet import SheetJudgement, count, sheet_of
from momus.files import write_lines
from momus.label.exporting import export
from momus.label.importing import authors_by_task, demo_items, read_items, without_authors
from momus.label.kinds import KINDS, check
from momus.label.owner.overview import matches_gold, overview
from momus.label.people import People
from momus.label.rules import NewItem
from momus.label.schema import migrate, open_database
from momus.label.store import Store
from momus.label.views import arrange
from momus.records import Comparison, Demonstration, Judgement, Prompt, Ranking, Tamper, Task, read_jsonl, write_jsonl
from support.label_items import CRITIQUES, GOOD, ITEMS, TAMPER, TASK


@pytest.fixture
def bench(tmp_path):
    class Bench:
        database = open_database(str(tmp_path / "label.db"))
        migrate(database)
        store, people = Store(database), People(database)

        def labeler(self, name="kim"):
            return self.people.person(self.people.join(self.people.invite("labeler", "o"), name, "en")).id

        def do(self, person, kind, content, **more):
            lease = self.store.claim(person, kind, arrange)
            assert lease is not None
            given = content(lease) if callable(content) else content
            return self.store.submit(lease.token, person, lease.token, given, 30.0, check)

    yield Bench()
    Bench.database.close()


def rated(lease):
    """Rate each critique by its text, wherever it stands."""
    ratings = []
    for index in lease.arrangement["order"]:
        good = "subtracts" in lease.payload["critiques"][index].lower() or "Wrong operator" in lease.payload[
            "critiques"][index]  # fmt: skip
        rating = dict(GOOD["comparison"]["ratings"][0])
        ratings.append({**rating, "cbi": [7 if good else 1], "overall": 6 if good else 2})
    return {"ratings": ratings, "rationale": "so"}


def test_the_loop_from_tampers_to_comparisons_that_training_reads(bench, tmp_path):
    write_jsonl(tmp_path / "tasks.jsonl", [Task.model_validate(TASK)])
    bench.store.add_items(read_items(str(tmp_path / "tasks.jsonl"), "tamper", 1, "real"), "t", "o")
    tamperer, writer, other = bench.labeler("a"), bench.labeler("b"), bench.labeler("c")
    bench.do(tamperer, "tamper", GOOD["tamper"])
    export(bench.database, tmp_path / "one")
    [tamper] = read_jsonl(tmp_path / "one" / "tampers.jsonl", Tamper)
    assert tamper.answer == GOOD["tamper"]["answer"] and tamper.bugs[0].kind == "inserted"
    assert tamper.answer[slice(*tamper.bugs[0].spans[0])] == "    return a - b"
    assert tamper.gold_critique().comments[0].highlight == "return a - b"

    model = {"schema_version": 1, "index": 0, "id": TASK["id"], "skipped": "",
             "critiques": [{"text": CRITIQUES[0], "critique": {}, "score": None, "tokens": 1}]}  # fmt: skip
    (tmp_path / "model.jsonl").write_text(json.dumps(model) + "\n")
    source = str(tmp_path / "one" / "tampers.jsonl")
    items = read_items(source, "critique", 4, "real", {"model": tmp_path / "model.jsonl"})
    bench.store.random = Random(3)
    bench.store.add_items(without_authors(items, authors_by_task(bench.database)), "c", "o")
    assert bench.store.claim(tamperer, "critique", arrange) is None  # knows the bug
    for person in (writer, other, bench.labeler("d"), bench.labeler("e")):
        bench.do(person, "critique", GOOD["critique"])
    export(bench.database, tmp_path / "two")
    written = {}
    for name in ("human", "human+model"):
        [line] = map(json.loads, (tmp_path / "two" / f"critiques.{name}.jsonl").read_text().splitlines())
        written[name] = tmp_path / "two" / f"critiques.{name}.jsonl"
        critique = parse_critique(line["critiques"][0]["text"], tamper.answer)
        assert critique.comments[0].span is not None and line["id"] == TASK["id"]
    edits = [json.loads(line) for line in (tmp_path / "two" / "critique_edits.jsonl").read_text().splitlines()]
    assert all(edit["deleted"] == edit["prefilled"] and edit["added"] == 1 for edit in edits) and len(edits) == 4

    items = read_items(source, "comparison", 2, "real", {**written, "critic": tmp_path / "model.jsonl"})
    assert items[0].payload["sources"] == ["human", "human+model", "critic"]
    bench.store.add_items(without_authors(items, authors_by_task(bench.database)), "v", "o")
    for person in (tamperer, writer):
        assert bench.store.claim(person, "comparison", arrange) is None
    for _ in range(2):
        bench.do(bench.labeler("rater"), "comparison", rated)
    export(bench.database, tmp_path / "three")
    comparisons = list(read_jsonl(tmp_path / "three" / "comparisons.jsonl", Comparison))
    assert len(comparisons) == 2 and comparisons[0].sources == ("human", "human+model", "critic")
    assert [rating.overall for rating in comparisons[0].ratings] == [6, 6, 6]
    assert comparisons[0].labeling.rationale == "so" and sorted(comparisons[0].labeling.order) == [0, 1, 2]
    shown = overview(bench.database)
    assert {row["measure"]: row["pairwise"] for row in shown["agreement"]}["comparison: overall"] == 0.5  # all tied
    assert shown["prefill"]["with"] + shown["prefill"]["without"] == 4

    torch = pytest.importorskip("torch")
    from momus.critics.run import TaskCritiques
    from momus.evaluate.instruct.feedback import records_of

    assert torch and next(iter(read_jsonl(written["human"], TaskCritiques))).critiques[0].text
    [first, _] = records_of([str(tmp_path / "three" / "comparisons.jsonl")])
    assert isinstance(first, Ranking) and first.ranks == (1, 1, 1)


def test_what_is_exported_trains_a_reward_model_and_ranks_critics(bench, tmp_path, capsys):
    """Human, Critic and Human+Critic: rated by people, learnt from, side by side in one table."""
    pytest.importorskip("torch")
    from momus.lm.models import save_causal_lm
    from support.tiny import tiny_model, tiny_tokenizer

    bench.store.add_items([NewItem("comparison", ITEMS["comparison"], want=2)], "v", "o")
    for name in ("a", "b"):
        bench.do(bench.labeler(name), "comparison", rated)
    export(bench.database, tmp_path / "labels")
    comparisons = tmp_path / "labels" / "comparisons.jsonl"
    [first, _] = read_jsonl(comparisons, Comparison)
    assert dict(zip(first.critiques, (r.overall for r in first.ratings), strict=True))[CRITIQUES[2]] == 2

    rankings, tampers = tmp_path / "rankings.jsonl", tmp_path / "tampers.jsonl"
    assert main(["data", "critiques", str(comparisons), "--out", str(rankings)]) == 0
    model = tiny_model()
    model.config.max_position_embeddings = 4096
    save_causal_lm(model, tmp_path / "base", tiny_tokenizer())
    train = ["train", "reward", "--preset", "tiny", "--model", tmp_path / "base", "--data", rankings, "--epochs", "1"]
    lengths = ["--max-prompt", "2000", "--max-answer", "300", "--held-out", "0"]
    assert main([str(word) for word in (*train, *lengths, "--out", tmp_path / "reward")]) == 0
    summary = json.loads((tmp_path / "reward" / "summary.json").read_text())
    assert summary["data"]["rankings"]["pairs"] == 8 and summary["result"]["steps"] == 1

    write_jsonl(tampers, [Tamper.model_validate(TAMPER)])
    options = []
    for name, text in (("Human", CRITIQUES[3]), ("Critic", CRITIQUES[2]), ("Human+Critic", CRITIQUES[0])):
        written = {"schema_version": 1, "index": 0, "id": TASK["id"], "skipped": "",
                   "critiques": [{"text": text, "critique": {}, "score": None, "tokens": 1}]}  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(written) + "\n")
        options.append(f"{name}={tmp_path / name}.jsonl")
    capsys.readouterr()
    assert main(["evaluate", "critics", str(tampers), "--critiques", *options]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("Human", "Critic", "Human+Critic"))


@pytest.mark.parametrize("seed", range(6))
def test_judgements_come_back_in_the_items_own_order(bench, tmp_path, seed):
    bench.store.random = Random(seed)
    bench.store.add_items([NewItem("ranking", ITEMS["ranking"])], "b", "o")
    best = {"2": 1, "Seven is a prime.": 1, "4": 3, "I will not say.": 4}

    def judged(lease):
        texts = [lease.payload["candidates"][i] for i in lease.arrangement["order"]]
        cards = [{"overall": 8 - best[text], "flags": {"fails_task": best[text] > 1}} for text in texts]
        return {"cards": cards, "ranks": [best[text] for text in texts], "rationale": "why"}

    person = bench.labeler()
    bench.do(person, "ranking", judged)
    export(bench.database, tmp_path / "out")
    [ranking] = read_jsonl(tmp_path / "out" / "rankings.jsonl", Ranking)
    assert dict(zip(ranking.candidates, ranking.ranks, strict=True)) == best
    assert ranking.labeler == person and ranking.authors == tuple(ITEMS["ranking"]["authors"])
    judgements = list(read_jsonl(tmp_path / "out" / "judgements.jsonl", Judgement))
    assert {j.answer: j.values["overall"] for j in judgements} == {text: 8 - place for text, place in best.items()}
    assert {j.answer: j.values["fails_task"] for j in judgements} == {text: p > 1 for text, p in best.items()}


def test_every_kind_is_exported_and_nobody_is_named(bench, tmp_path):
    bench.store.add_items([NewItem(kind, ITEMS[kind]) for kind in KINDS if kind != "review"], "b", "o")
    bench.store.add_items(
        [NewItem("demonstration", {"prompt": "gold"}, purpose="gold", gold={"answer": "x"})], "g", "o"
    )
    bench.store.gold_every = 1
    person = bench.labeler("Kim Minji")
    for kind in KINDS:
        while kind != "review" and (lease := bench.store.claim(person, kind, arrange)):
            bench.store.submit(lease.token, person, lease.token, GOOD[kind], 1.0, check)
    counts = export(bench.database, tmp_path / "out")
    assert set(counts) == {
        "breaks.jsonl", "comparisons.jsonl", "critique_edits.jsonl", "critiques.human+model.jsonl",
        "critiques.human.jsonl", "demonstrations.jsonl", "feedback.jsonl", "gold/demonstrations.jsonl",
        "judgements.jsonl", "prompts.jsonl", "rankings.jsonl", "surveys.jsonl", "tampers.jsonl",
        "written_prompts.jsonl",
    }  # fmt: skip
    for name, kind in (("demonstrations", Demonstration), ("prompts", Prompt), ("rankings", Ranking)):
        assert list(read_jsonl(tmp_path / "out" / f"{name}.jsonl", kind))
    everything = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.*"))
    assert "Minji" not in everything and person in everything
    assert overview(bench.database)["people"][0]["gold"] == "0/1"
    with pytest.raises(UserError, match="already"):
        export(bench.database, tmp_path / "out")
    bench.database.write(lambda t: t.run("UPDATE audit SET actor = 'x' WHERE position = 1"))
    with pytest.raises(UserError, match="does not verify"):
        export(bench.database, tmp_path / "other")


def _say_that_the_second_is_wrong(lease):
    return {"values": {"problem": "yes" if lease.payload["title"].endswith(" 2") else "no"}}


def test_the_sheet_of_an_audit_comes_back_with_what_was_said_of_it(bench, tmp_path):
    code = "def f(a):\n    return ```a```\n"
    audited = [
        Audited(task=Task(id=str(i), question=f"Question {i}?", answer=f"{code}{i}"), number=i + 1) for i in range(3)
    ]
    sheet = sheet_of(audited, code=True)
    write_lines(tmp_path / "sheet.jsonl", [item.model_dump_json() for item in sheet])
    bench.store.add_items(read_items(str(tmp_path / "sheet.jsonl"), "survey", 2, "real"), "an audit", "o")
    people = [bench.labeler("a"), bench.labeler("b")]
    for person in people:
        for _ in audited:
            bench.do(person, "survey", _say_that_the_second_is_wrong)
    export(bench.database, tmp_path / "out")
    said = list(read_jsonl(tmp_path / "out" / "surveys.jsonl", SheetJudgement))
    counted = count(audited, sheet, said)
    assert (counted.judged, counted.true, counted.other) == ((0, 3), (0, 1), 0)
    assert len(said) == 6 and set(counted.labelers) == set(people)


def test_gold_is_compared_kind_by_kind():
    arrangement = {"order": [1, 0]}
    assert matches_gold("ranking", {"ranks": [1, 2]}, arrangement, {"ranks": [2, 1]})
    assert not matches_gold("ranking", {"ranks": [2, 1]}, arrangement, {"ranks": [2, 1]})
    assert matches_gold("ranking", {"ranks": [1, 1]}, arrangement, {"ranks": [2, 1]})
    ratings = [{"overall": 5}, {"overall": 2}]
    assert matches_gold("comparison", {"ratings": ratings}, arrangement, {"ratings": [{"overall": 1}, {"overall": 6}]})
    assert not matches_gold("comparison", {"ratings": ratings}, arrangement, {"ratings": [{"overall": 5}, {}]})
    assert matches_gold("survey", {"values": {"a": "b"}}, {}, {"values": {"a": "b"}})


def test_answers_of_several_systems_become_one_ranking_and_low_ones_a_search(tmp_path):
    write_jsonl(tmp_path / "answers.jsonl", [
        Demonstration(prompt="p", answer="a", author="x"), Demonstration(prompt="p", answer="b", author="y"),
        Demonstration(prompt="q", answer="c", author="x"),
    ])  # fmt: skip
    [item] = read_items(str(tmp_path / "answers.jsonl"), "ranking", 3, "real")
    assert item.payload["candidates"] == ["a", "b"] and item.payload["authors"] == ["x", "y"] and item.want == 3
    assert len(read_items(str(tmp_path / "answers.jsonl"), "edit", 1, "real")) == 3
    assert len(read_items(str(tmp_path / "answers.jsonl"), "demonstration", 1, "real")) == 2
    write_jsonl(tmp_path / "judged.jsonl", [
        Judgement(prompt="p", answer="bad", values={"overall": 2}),
        Judgement(prompt="p", answer="ok", values={"overall": 5}),
    ])  # fmt: skip
    [item] = read_items(str(tmp_path / "judged.jsonl"), "found", 1, "real")
    assert item.payload["task"]["answer"] == "bad"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("{", "break", r"x\.jsonl:1: not JSON"),
        ("[1]", "break", r"x\.jsonl:1: not an object"),
        ('{"about": "a"}\n{"about": 3}', "break", r"x\.jsonl:2: about"),
        ('{"schema_version": 1, "bugs": []}', "comparison", r"x\.jsonl:1: task"),
        (json.dumps({**TAMPER}), "demonstration", "nothing in it"),
        (json.dumps({**TAMPER}), "comparison", r"x\.jsonl: critiques"),
        ("[" * 100_000, "break", r"x\.jsonl:1: JSON nested too deeply"),
        (json.dumps({"about": "x" * 300_000}), "break", r"x\.jsonl:1: about"),
    ],
)
def test_what_cannot_be_imported_is_named_in_one_line(tmp_path, text, kind, message):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        read_items(str(tmp_path / "x.jsonl"), kind, 1, "real")
    assert "\n" not in str(refused.value)


def test_gold_needs_what_is_expected(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"about": "a"}')
    with pytest.raises(UserError, match="gold"):
        read_items(str(tmp_path / "x.jsonl"), "break", 1, "gold")


def test_the_demo_has_every_kind_that_labelers_choose():
    assert {item.kind for item in demo_items()} == set(KINDS) - {"review"}


def test_the_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["label", "status"]) == 2
    assert main(["label", "import", "--demo"]) == 0 == main(["label", "import", "--demo"])
    assert "0 items added, 11 were there already" in capsys.readouterr().err
    assert main(["label", "invite", "--count", "2"]) == 0
    assert capsys.readouterr().out.count("http://127.0.0.1:8765/join/") == 2
    assert main(["label", "invite", "--labeler", "L000000"]) == 2
    assert main(["label", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["progress"][0]["kind"] == "break"
    assert main(["label", "status"]) == main(["label", "status", "--csv"]) == 0
    assert main(["label", "pause"]) == main(["label", "resume"]) == main(["label", "pause", "--batch", "demo"]) == 0
    assert main(["label", "resume", "--batch", "b"]) == 2 == main(["label", "pause", "--labeler", "L000000"])
    assert main(["label", "pause", "--labeler", "L000000", "--batch", "demo"]) == 2
    assert main(["label", "revoke", "L000000"]) == main(["label", "redo", "L000000", "--why", "x"]) == 2
    assert main(["label", "redo", "L000000"]) == 2
    assert main(["label", "hours"]) == main(["label", "hours", "--since", "2026-11-01"]) == 0
    assert main(["label", "hours", "--until", "soon"]) == 2
    assert main(["label", "verify"]) == 0 and main(["label", "backup", "copy.db"]) == 0
    assert main(["label", "verify", "--database", "copy.db"]) == 0
    assert main(["label", "export", "out"]) == 0 and main(["label", "export", "out"]) == 2
    assert main(["label", "serve", "--host", "0.0.0.0"]) == 2
    assert main(["label", "import"]) == 2 and main(["label", "import", "nowhere.jsonl"]) == 2
    assert main(["label", "status", "--database", "mysql://x"]) == 2
