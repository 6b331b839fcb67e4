"""Feedback on documents in the workbench: one record from the draft to the Word document, by whoever decided."""

import io
import json
import zipfile

import docx
import pytest

from momus.cli import main
from momus.documents.commented import to_docx
from momus.documents.document import Document, Piece
from momus.documents.drafts import read_feedback
from momus.documents.feedback import checked, read_answer
from momus.documents.reading import read_document
from momus.documents.rubrics import read_rubric
from momus.errors import UserError
from momus.label.feedback.deciding import collect, decided
from momus.label.feedback.kind import FeedbackItem
from momus.label.importing import read_items
from momus.label.kinds import check
from momus.report.feedback import write_feedback
from support.feedback import NOW, answer
from support.label_items import GOOD, ITEMS

TEXT = "# {}\n\nWe put two cups of water in the freezer.\n\nAfter two hours the water was ice.\n"
QUOTE = "two cups of water in the freezer"


@pytest.fixture
def class_folder(tmp_path):
    """Return a folder with two documents and drafts of feedback on them."""
    from momus.documents.feedback import Feedback

    rubric = read_rubric("pupil")
    for name in ("kim", "lee"):
        path = tmp_path / "class" / name / "report.md"
        path.parent.mkdir(parents=True)
        path.write_text(TEXT.format(f"Report of {name}"), encoding="utf-8")
        document = read_document(path)
        entries, _ = read_answer(json.loads(answer("pupil", QUOTE)), rubric, "en")
        sections, struck = checked(entries, rubric, document, "en")
        draft = Feedback(
            document=path.name, sha256=document.sha256, title=document.title, rubric="pupil", language="en", author="m",
            kind="model", needs_approval=True, sections=sections, written=sections, struck=struck,
        )  # fmt: skip
        write_feedback(draft, rubric, path.with_name("report.md.feedback.json"), document)
    return tmp_path / "class"


def edited(item, verdict="approved", note="", word="You wrote this clearly."):
    """Return a judgement that changes the first point of a draft."""
    sections = [
        {"key": s["key"], "points": [{k: p[k] for k in ("text", "details", "quote")} for p in s["points"]]}
        for s in item["feedback"]["sections"]
    ]
    sections[0]["points"][0]["text"] = word
    return {"sections": sections, "verdict": verdict, "note": note, "grade": 6}


def decide(store, people, labeler, verdict="approved", note=""):
    """Have a teacher decide on everything that is open."""
    teacher = labeler("Ms Kim")
    while lease := store.claim(teacher, "feedback", lambda *_: {}):
        store.submit(lease.token, teacher, lease.token, edited(lease.payload, verdict, note), 60.0, check)
    return teacher


def test_a_class_comes_in_is_decided_on_and_goes_back_beside_the_documents(
    class_folder, store, people, labeler, database, tmp_path
):
    items = read_items(str(class_folder), "feedback", 1, "real")
    assert len(items) == 2 and store.add_items(items, "class", "o") == 2
    assert store.add_items(read_items(str(class_folder), "feedback", 1, "real"), "class", "o") == 0
    assert collect(database, class_folder) == ([], [])
    decide(store, people, labeler)
    found, left = collect(database, class_folder)
    assert len(found) == 2 and left == []
    for one in found:
        before = read_feedback(one.path)
        assert one.feedback.state == "approved" and one.feedback.decisions[-1].by == "Ms Kim"
        assert one.feedback.written == before.sections and one.feedback.decisions[-1].grade == 6
        assert one.feedback.sections[0].points[0].text == "You wrote this clearly."
        files = write_feedback(one.feedback, one.rubric, one.path, one.document, docx=True)
        assert sorted(one.path.parent.glob("report.md.*")) == sorted(files) and len(files) == 4
    assert collect(database, class_folder) == ([], [])
    assert main(["feedback", "export", str(class_folder), "--out", str(tmp_path / "data")]) == 0
    assert len((tmp_path / "data" / "rankings.jsonl").read_text().splitlines()) == 2
    with pytest.raises(UserError, match="decided on"):
        read_items(str(class_folder), "feedback", 1, "real")


def test_the_commands_do_it(class_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["feedback", "collect", str(class_folder)]) == 2
    assert main(["label", "import", str(class_folder), "--kind", "feedback"]) == 0
    assert main(["feedback", "collect", str(class_folder), "--docx"]) == 0
    assert "0 approved and 0 returned" in capsys.readouterr().err


def test_a_decision_made_elsewhere_is_left_as_it_is(class_folder, store, people, labeler, database):
    store.add_items(read_items(str(class_folder), "feedback", 1, "real"), "class", "o")
    decide(store, people, labeler, "returned", "too general")
    file = class_folder / "kim" / "report.md.feedback.json"
    assert main(["feedback", "approve", str(file), "--by", "Mr Lee"]) == 0
    found, left = collect(database, class_folder)
    assert [one.feedback.state for one in found] == ["returned"] and len(left) == 1 and "Mr Lee" in left[0]


def test_what_nobody_changed_says_the_same():
    item = FeedbackItem.model_validate(ITEMS["feedback"])
    done = decided(item, GOOD["feedback"], "L1", NOW)
    assert done.sections == item.feedback.sections and done.state == "approved"
    assert item == FeedbackItem.model_validate_json(item.model_dump_json())


def changed(**more):
    return {**GOOD["feedback"], **more}


SECTIONS = GOOD["feedback"]["sections"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (changed(verdict="returned"), "note"),
        (changed(sections=SECTIONS[::-1]), "sections"),
        (changed(sections=[{**SECTIONS[0], "points": []}, *SECTIONS[1:]]), "sections.question"),
        (changed(sections=[{**SECTIONS[0], "points": [{"text": " "}]}, *SECTIONS[1:]]), "sections.0.points.0.text"),
        (changed(sections=[{**SECTIONS[0], "points": [{"text": "x", "quote": "milk and honey"}]}, *SECTIONS[1:]]),
         "sections.question.0.quote"),
        (changed(sections=[*SECTIONS[:4], {**SECTIONS[4], "points": [{"text": "x", "quote": "After two hours"}]}]),
         "sections.next_step.0.quote"),
        (changed(scores={"soundness": 3}), "scores"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(content, place):
    with pytest.raises(UserError, match=f"^{place}"):
        check("feedback", ITEMS["feedback"], {}, content)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_word_document_holds_every_point_as_a_comment_on_its_quote(language, tmp_path):
    texts = {"en": "After two hours the water was ice.", "ko": "물은 두 시간 뒤에 얼었다."}
    document = Document(
        name="a.md", format="markdown", sha256="0", language=language, pages=0,
        pieces=(Piece(kind="title", text="T\x00itle"), Piece(kind="paragraph", text=texts[language])),
    )  # fmt: skip
    rubric = read_rubric("iclr")
    entries, scores = read_answer(json.loads(answer("iclr", texts[language][:12], "A point.")), rubric, "en")
    sections, _ = checked(entries, rubric, document, "en")
    item = FeedbackItem.model_validate(ITEMS["feedback"])
    feedback = item.feedback.model_copy(update={"sections": sections, "scores": scores, "language": language})
    data = to_docx(feedback, rubric, document)
    word = docx.Document(io.BytesIO(data))
    comments = [comment.text for comment in word.comments]
    points = [point for section in sections for point in section.points]
    assert len(comments) == len(points) + 1 and all(any(p.text in c for c in comments) for p in points)
    assert "\n".join(p.text for p in word.paragraphs) == f"Title\n{texts[language]}"
    body = zipfile.ZipFile(io.BytesIO(data)).read("word/document.xml").decode()
    assert body.count("commentRangeStart") == body.count("commentRangeEnd") == len(comments)
    (tmp_path / "a.docx").write_bytes(data)
    assert texts[language] in read_document(tmp_path / "a.docx").text


def test_a_teacher_sees_and_prints_only_their_own(tmp_path, clock):
    from label.test_app import Bench

    bench = Bench(tmp_path / "label.db", clock, kinds=["feedback"])
    teacher, other, owner = bench.browser(name="김 선생"), bench.browser(), bench.browser("owner")
    token = bench.start(teacher, "feedback")
    done = teacher.post(f"/api/work/{token}/submission",
                        json={"request": "r" * 16, "content": GOOD["feedback"], "active": 5}).json()  # fmt: skip
    page = teacher.get(f"/feedback/{done['id']}").text
    assert "김 선생" in page and 'href="#q1"' in page and 'id="q1"' in page and "style=" not in page
    word = teacher.get(f"/feedback/{done['id']}/docx")
    assert word.status_code == 200 and len(list(docx.Document(io.BytesIO(word.content)).comments)) == 5
    assert [other.get(f"/feedback/{done['id']}{end}").status_code for end in ("", "/docx")] == [404, 404]
    assert owner.get(f"/feedback/{done['id']}").status_code == 200
    token = bench.post(teacher, "/correct", submission=done["id"]).headers["location"].rpartition("/")[2]
    back = teacher.post(f"/api/work/{token}/submission", json={
        "request": "s" * 16, "content": {**GOOD["feedback"], "verdict": "returned", "note": "too short"}, "active": 5,
    }).json()  # fmt: skip
    assert "too short" in teacher.get(f"/feedback/{back['id']}").text
    assert teacher.get(f"/feedback/{back['id']}/docx").status_code == 404
    bench.database.close()


def test_an_export_has_the_record_under_a_pseudonym(store, people, labeler, tmp_path, database):
    from momus.label.exporting import export
    from momus.label.rules import NewItem

    store.add_items([NewItem("feedback", ITEMS["feedback"])], "b", "o")
    teacher = decide_on(store, labeler)
    assert export(database, tmp_path / "out")["feedback.jsonl"] == 1
    text = (tmp_path / "out" / "feedback.jsonl").read_text()
    assert json.loads(text)["decisions"][0]["by"] == teacher and "Ms Kim" not in text


def decide_on(store, labeler):
    teacher = labeler("Ms Kim")
    lease = store.claim(teacher, "feedback", lambda *_: {})
    store.submit(lease.token, teacher, lease.token, GOOD["feedback"], 60.0, check)
    return teacher
