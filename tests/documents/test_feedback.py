"""Feedback on documents: budgets, answers and their quotes, drafts and approval, data to train on."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import feedback as cli
from momus.cli import main
from momus.documents.budget import CUT, excerpt, fill
from momus.documents.drafts import approve, edited, give_back, read_feedback, read_given, to_markdown
from momus.documents.feedback import (
    Feedback,
    FeedbackPoint,
    answer_of,
    checked,
    question,
    read_answer,
    words_to_see,
)
from momus.documents.rubrics import read_rubric, shipped
from momus.documents.store import Filed
from momus.documents.store import rankings as store_rankings
from momus.errors import UserError
from momus.lm.chat import ChatFormat
from momus.lm.chats.engine import EngineChat
from momus.lm.remote.engine import RemoteEngine
from momus.match.ask import AskConfig, JsonAsker
from momus.match.reviews import read_reviews
from momus.records import Demonstration, Ranking, read_jsonl
from momus.train.settings import TextConfig
from momus.train.texts import demonstrations, rankings
from support.feedback import NOW, PAPER, QUOTE, answer, document, tokens
from support.openai_server import OpenAIServer
from support.scripted import Scripted
from support.tiny import tiny_engine, tiny_tokenizer


@pytest.fixture
def paper(tmp_path):
    path = tmp_path / "paper.md"
    path.write_text(PAPER)
    return path


@pytest.fixture
def scripted(monkeypatch):
    def use(reply, longest=10**9):
        engine = Scripted(reply if callable(reply) else lambda *_: reply, longest)
        monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(engine)))
        return engine

    return use


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(-5, 200))
def test_a_budget_is_filled_like_glasses_one_drop_after_another(sizes, total):
    drops = [0] * len(sizes)
    for _ in range(total):
        thirsty = [i for i, size in enumerate(sizes) if drops[i] < size]
        if not thirsty:
            break
        drops[min(thirsty, key=lambda i: drops[i])] += 1
    assert fill(sizes, total) == drops


WORDS = st.integers(1, 40).map(lambda n: " ".join(["A sentence has five words."] * n))


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=5), st.integers(60, 400))
def test_an_excerpt_keeps_the_budget_and_every_section(sections, budget):
    whole = document(sections)
    found = excerpt(whole, tokens, budget)
    assert tokens(found.text) <= budget
    for number in range(len(sections)):
        assert f"# Part {number}" in found.text
    kept = [block for block in re.split(r"\n\n", found.text) if not block.startswith(("#", "Title"))]
    assert all(block.replace(CUT, "").strip() in whole.text for block in kept)
    assert (found.share == 1) == (CUT not in found.text)
    if found.share < 1:  # nobody is cut to less than what a shorter section has in full, but for half a sentence
        bodies = [tokens(body.replace(CUT, "")) for body in re.split(r"# Part \d+\n*", found.text)[1:]]
        whole = [sum(map(tokens, paragraphs)) for paragraphs in sections]
        cut = [kept for kept, full in zip(bodies, whole, strict=True) if kept < full]
        uncut = [kept for kept, full in zip(bodies, whole, strict=True) if kept == full]
        assert not uncut or min(cut) + 8 * 5 >= max(uncut)


def test_the_end_of_a_long_paper_is_read():
    long = document([["word " * 5000 + "."], ["The last section matters."]])
    text, share = question(long, read_rubric("paper"), "en", tokens, 700)
    assert tokens(text) <= 700 and "The last section matters." in text and 0 < share < 0.2
    with pytest.raises(UserError, match="--budget"):
        question(long, read_rubric("paper"), "en", tokens, 250)


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_rubric_that_ships_asks_for_what_it_reads(name, language):
    form = read_rubric(name)
    text, _ = question(document([["Some text."]]), form, language, tokens, 2000)
    assert "Some text." in text and ("in Korean:" in text) == (language == "ko")
    word = "이 보고서는 이것을 잘 설명하고 있어요." if language == "ko" else "It is said well here."
    found = read_answer(json.loads(answer(name, word=word)), form, language)
    assert found is not None and set(found[0]) == {section.key for section in form.sections}
    assert read_answer(json.loads(answer(name, word=word)), form, "en" if language == "ko" else "ko") is None
    shape = json.loads(text[text.rindex('{"sections"') :])
    assert set(shape["sections"]) == set(found[0])


def test_answers_are_read_leniently_but_not_blindly():
    form = read_rubric("iclr")
    good = json.loads(answer("iclr"))
    by_title = {section.title.en: [f"A {section.key} point."] for section in form.sections} | {
        "scores": dict(good["scores"])
    }
    assert read_answer(by_title, form, "en")[0]["summary"][0].point == "A summary point."
    listed = {
        "sections": [{"key": key, "points": points} for key, points in good["sections"].items()],
        "scores": good["scores"],
    }
    assert read_answer(listed, form, "en") == read_answer(good, form, "en")
    worded = good | {"scores": {key: f"{value}: sure" for key, value in good["scores"].items()}}
    assert read_answer(worded, form, "en")[1]["rating"] == 10
    for bad in (
        good | {"scores": good["scores"] | {"rating": 11}},
        good | {"scores": good["scores"] | {"rating": 5.5}},
        good | {"sections": good["sections"] | {"weaknesses": []}},
        good | {"sections": {}},
        {"sections": 3},
        [],
        "text",
    ):
        assert read_answer(bad, form, "en") is None


def test_quotes_are_checked_and_have_pages(tmp_path):
    source = document([["First part says this here."], ["The second part  says that, clearly."]])
    form = read_rubric("paper")
    good, bad, tiny = "the second part says “that”".replace("“", "").replace("”", ""), "what nobody has written", "says"
    entries, _ = read_answer(
        {"significance": [{"point": "One.", "quote": good}, {"point": "Two.", "quote": bad}],
         "acceptance": ["Three."], "rejection": [{"point": "Four.", "quote": tiny}], "suggestions": ["Five."]},
        form, "en",
    )  # fmt: skip
    sections, struck = checked(entries, form, source, "en")
    assert [point.quote for point in sections[0].points] == ["The second part  says that", ""]
    assert sections[0].points[0].page == 2
    assert [lost.quote for lost in struck] == [bad, tiny] and not any(lost.dropped for lost in struck)
    must = form.model_copy(
        update={"sections": tuple(part.model_copy(update={"quote": "must"}) for part in form.sections)}
    )
    sections, struck = checked(entries, must, source, "en")
    assert [len(part.points) for part in sections] == [1, 0, 0, 0] and all(lost.dropped for lost in struck)


LINE = st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1, max_size=12).map(
    lambda text: f"It {text} so."
)


@given(st.lists(st.tuples(LINE, st.lists(LINE, max_size=2), st.booleans()), min_size=5, max_size=5))
def test_markdown_is_read_as_it_was_written(tmp_path_factory, points):
    form, source = read_rubric("pupil"), document([[QUOTE, *(text for text, _, _ in points)]])
    entries = {
        part.key: [{"point": text, "details": details, "quote": QUOTE if quoted and part.quote != "no" else ""}]
        for part, (text, details, quoted) in zip(form.sections, points, strict=True)
    }
    sections, struck = checked(read_answer(entries, form, "en")[0], form, source, "en")
    made = Feedback(
        document="a.md", sha256="0", title="T", rubric="pupil", language="en", author="me", kind="person",
        needs_approval=True, sections=sections,
    )  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "round.md"
    path.write_text(to_markdown(made, form), encoding="utf-8")
    back, _ = read_given(path, source, form, "en")
    assert not struck and checked(back, form, source, "en") == (sections, ())


def test_a_model_is_asked_and_what_it_says_is_written(paper, scripted, capsys):
    engine = scripted(lambda _, asked: "no JSON at all" if asked == 1 else f"Here:\n```json\n{answer('paper')}\n```")
    assert main(["feedback", str(paper), "--model", "some", "--budget", "100000"]) == 0
    assert len(engine.asked) == 2 and "Quoting halved" in engine.asked[0]
    found = read_feedback(paper.with_name("paper.md.feedback.json"))
    assert (found.state, found.author, found.kind, found.share) == ("final", "some", "model", 1)
    assert [section.title for section in found.sections][2] == "Reasons for rejection"
    assert found.sections[2].points[0].quote == QUOTE and found.sections[2].points[0].details == ("One.", "Two.")
    assert QUOTE in paper.with_name("paper.md.feedback.md").read_text()
    assert QUOTE in paper.with_name("paper.md.feedback.html").read_text()
    assert "Reasons for rejection" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("nothing", "gave no feedback of the asked form"),
        (
            answer("paper", word="전혀 다른 말로 쓴 글입니다."),
            "gave feedback in Korean, and English was asked for: try",
        ),
    ],
)
def test_no_answer_is_one_line_and_leaves_nothing(reply, says, paper, scripted, capsys):
    scripted(reply)
    assert main(["feedback", str(paper), "--model", "some", "--budget", "100000"]) == 2
    assert says in capsys.readouterr().err
    assert [file.name for file in paper.parent.iterdir()] == ["paper.md"]


def test_a_budget_spreads_over_the_sections(paper, scripted, capsys):
    engine = scripted(answer("paper"))
    paper.write_text(PAPER.replace("We ask", "Many words stand here. " * 300 + "We ask"))
    assert main(["feedback", str(paper), "--model", "some", "--budget", "4000"]) == 0
    assert len(engine.asked[0]) <= 4000 and CUT in engine.asked[0] and "largest for short documents" in engine.asked[0]
    assert "of the document's words fitted into 4000 tokens" in capsys.readouterr().err


def test_through_a_server_with_a_chat_api(paper, monkeypatch):
    class Server(OpenAIServer):
        def _complete(self, body):
            if "A small study" not in str(body.get("messages")):
                return super()._complete(body)
            message = {"role": "assistant", "content": answer("neurips")}
            return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}

    server = Server(tiny_engine())
    engine = RemoteEngine(server.server(), tiny_tokenizer(), chat=True)
    monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(engine), config=AskConfig(max_tokens=3000)))
    assert main(["feedback", str(paper), "--model", "tiny", "--rubric", "neurips", "--budget", "9000"]) == 0
    found = read_feedback(paper.with_name("paper.md.feedback.json"))
    assert found.scores["overall"] == 6 and found.sections[1].points[0].quote == QUOTE
    assert body_of(server)["messages"][0]["role"] == "user"


def body_of(server):
    return next(body for body in server.bodies if "A small study" in str(body))


REPORT = "# 소금물은 왜 늦게 얼까\n\n## 실험\n\n물은 두 시간 뒤에 얼었고 소금물은 얼지 않았다.\n"
PUPIL = answer("pupil", "물은 두 시간 뒤에 얼었고", "차례로 잘 적어서 읽기 쉬워요.")


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "보고서.md"
    path.write_text(REPORT, encoding="utf-8")
    return path


def _files(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_pupils_report_stays_a_draft_until_a_teacher_approves(report, scripted, capsys):
    scripted(PUPIL)
    assert main(["feedback", str(report), "--model", "m", "--rubric", "pupil", "--budget", "9999"]) == 0
    assert "draft, not to be passed on" in capsys.readouterr().err
    name = "보고서.md.feedback"
    drafts = [f"{name}.draft.html", f"{name}.draft.md", f"{name}.json"]
    assert _files(report.parent) == sorted(["보고서.md", *drafts])
    page = (report.parent / f"{name}.draft.html").read_text()
    assert "초안" in page and "차례로 잘 적어서" in page
    file = report.parent / f"{name}.json"
    assert read_feedback(file).state == "draft" and not read_feedback(file).released
    changed = report.parent / "edited.md"
    changed.write_text((report.parent / f"{name}.draft.md").read_text().replace("차례로 잘", "차례대로 아주 잘"))
    assert main(["feedback", "approve", str(file), "--by", "김 선생", "--edited", str(changed), "--grade", "5"]) == 0
    changed.unlink()
    found = read_feedback(file)
    assert found.state == "approved" and found.decisions[0].by == "김 선생"
    assert "차례대로 아주 잘" in found.sections[0].points[0].text and "차례로 잘" in found.written[0].points[0].text
    assert _files(report.parent) == sorted(["보고서.md", f"{name}.html", f"{name}.md", f"{name}.json"])
    assert "초안" not in (report.parent / f"{name}.md").read_text()
    assert main(["feedback", str(report), "--model", "m", "--rubric", "pupil"]) == 2  # it is not written over
    assert main(["feedback", "return", str(file), "--by", "박 선생", "--note", "나중에"]) == 0
    assert read_feedback(file).state == "returned" and _files(report.parent) == sorted(["보고서.md", *drafts])


def test_an_approval_holds_only_for_what_was_approved():
    point = FeedbackPoint(text="You ask a good question.")
    form = read_rubric("pupil")
    source = document([["Some text that can be quoted."]])
    entries = read_answer({part.key: [point.text] for part in form.sections}, form, "en")[0]
    sections, _ = checked(entries, form, source, "en")
    made = Feedback(
        document="a.md", sha256="0", title="T", rubric="pupil", language="en", author="m", kind="model",
        needs_approval=True, sections=sections,
    )  # fmt: skip
    assert made.state == "draft"
    done = approve(made, "Ms Kim", NOW)
    assert done.released and Feedback.model_validate_json(done.model_dump_json()) == done
    other = done.model_copy(update={"sections": sections[::-1]})
    assert other.state == "draft" and not other.released
    assert give_back(done, "Ms Kim", NOW).state == "returned"
    assert approve(give_back(done, "Ms Kim", NOW), "Ms Kim", NOW).state == "approved"
    for by, grade in ((" ", None), ("x", 8)):
        with pytest.raises(UserError):
            approve(made, by, NOW, grade=grade)
    rude = sections[0].model_copy(update={"points": (FeedbackPoint(text="This is a bad, lazy failure."),)})
    assert words_to_see(made.model_copy(update={"sections": (rude,)}), form) == ["bad", "lazy"]


def test_an_edit_cannot_quote_what_is_not_there(report, tmp_path, scripted):
    scripted(PUPIL)
    main(["feedback", str(report), "--model", "m", "--rubric", "pupil", "--budget", "9999"])
    draft = tmp_path / "보고서.md.feedback.draft.md"
    changed = tmp_path / "edited.md"
    changed.write_text(draft.read_text().replace("> 물은 두 시간", "> 우유는 세 시간"))
    assert (
        main(["feedback", "approve", str(tmp_path / "보고서.md.feedback.json"), "--by", "k", "--edited", str(changed)])
        == 2
    )
    assert draft.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--given FILE --by NAME"),
        (
            ["--model", "m", "--url", "http://models.example.com/v1", "--rubric", "pupil"],
            "keeps documents on this machine",
        ),
        (["--rubric", "none"], "there are design, iclr, neurips, paper, pupil"),
        (["--given", "x.md"], "go together"),
        (["--given", "x.md", "--by", "me", "--model", "m"], "exclude each other"),
        (["--given", "none.md", "--by", "me"], "No such file"),
        (["--given", "paper.md", "--by", "me"], "not feedback of the rubric 'paper'"),
    ],
)
def test_mistakes_are_one_line(options, message, paper, monkeypatch, capsys):
    monkeypatch.chdir(paper.parent)
    assert main(["feedback", "paper.md", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_rubric_of_ones_own(paper, scripted, capsys):
    path = paper.parent / "own.toml"
    path.write_text(
        'name = "own"\ntask = "Say one thing."\ntitle = { en = "One", ko = "하나" }\napproval = true\n'
        '[[sections]]\nkey = "thing"\ntitle = { en = "Thing", ko = "것" }\nask = "A thing."\n'
    )
    scripted('{"thing": "One thing is missing here."}')
    assert main(["feedback", str(paper), "--model", "m", "--rubric", str(path), "--budget", "9999"]) == 0
    assert main(["feedback", "approve", str(paper) + ".feedback.json", "--by", "me"]) == 0
    path.write_text(path.read_text() + "colour = 3\n")
    assert main(["feedback", str(paper), "--model", "m", "--rubric", str(path)]) == 2
    assert "colour" in capsys.readouterr().err


def test_a_store_becomes_data_that_training_reads(tmp_path, scripted, capsys):
    """Three documents, feedback by a person and a model, a teacher's decisions: demonstrations, rankings, reviews."""
    folder = tmp_path / "store"
    for number in range(3):
        folder_of_class = folder / f"class{number}"
        folder_of_class.mkdir(parents=True)
        (folder_of_class / "report.md").write_text(PAPER.replace("Forty", f"Forty{number}"))
        (folder_of_class / "by-hand.txt").write_text(
            "\n".join(f"## {part.key}\n- A kind word." for part in read_rubric("pupil").sections)
        )
        base = ["feedback", str(folder_of_class / "report.md"), "--rubric", "pupil", "--budget", "9999"]
        assert main([*base, "--given", str(folder_of_class / "by-hand.txt"), "--by", "Ms Kim"]) == 0
        scripted(answer("pupil", "", f"You did this well {number}."))
        assert main([*base, "--model", "m"]) == 0
        hand, machine = folder_of_class / "report.md.Ms-Kim.feedback.json", folder_of_class / "report.md.feedback.json"
        assert main(["feedback", "approve", str(hand), "--by", "Ms Kim", "--grade", "6"]) == 0
        word = "approve" if number else "return"
        assert main(["feedback", word, str(machine), "--by", "Ms Kim", "--grade", "3"]) == 0
    out = tmp_path / "data"
    assert main(["feedback", "export", str(folder), "--out", str(out), "--budget", "3000"]) == 0
    assert "5 demonstrations, 3 rankings, 6 reviews" in " ".join(capsys.readouterr().err.split())
    shown = list(read_jsonl(out / "demonstrations.jsonl", Demonstration))
    assert all(read_answer(json.loads(record.answer), read_rubric("pupil"), "en") for record in shown)
    assert {record.author for record in shown} == {"Ms Kim", "m"}
    ranked = list(read_jsonl(out / "rankings.jsonl", Ranking))
    assert all(record.labeler == "Ms Kim" and len(record.candidates) == 2 for record in ranked)
    for record in ranked:
        assert record.authors[record.ranks.index(0)] == "Ms Kim" and sorted(record.ranks) == [0, 1]
    assert {record.kind for record in read_reviews_of_one(out)} == {"person", "model"}
    chat = ChatFormat(tiny_tokenizer())
    wide = TextConfig(max_prompt=10_000, max_answer=10_000, held_out=0)
    assert len(demonstrations([str(out / "demonstrations.jsonl")], chat, wide).train) >= 3
    assert len(rankings([str(out / "rankings.jsonl")], chat, wide).train) == 3
    (folder / "class0" / "report.md").write_text("# Another\n\nText that is new.\n")
    assert main(["feedback", "export", str(folder), "--out", str(out)]) == 2
    assert "was changed since" in capsys.readouterr().err


def read_reviews_of_one(out):
    """The three documents have one name here: read the reviews of the first."""
    lines = (out / "reviews.jsonl").read_text().splitlines()
    (out / "one.jsonl").write_text("\n".join(lines[:2]))
    return read_reviews(out / "one.jsonl")


def test_without_a_grade_there_is_no_place_among_graded_answers():
    form = read_rubric("pupil")
    source = document([["Some text that can be quoted."]], sha256="1")

    def filed(word, change, grade):
        sections, _ = checked(read_answer({p.key: [word] for p in form.sections}, form, "en")[0], form, source, "en")
        made = Feedback(
            document="a.md", sha256="1", title="T", rubric="pupil", language="en", author=word, kind="model",
            needs_approval=True, sections=sections,
        )  # fmt: skip
        return Filed(change(made, "Ms Kim", NOW, grade=grade), source, form)

    store = [filed("fine", approve, 5), filed("unsaid", approve, None), filed("better", approve, 6)]
    (ranked,) = store_rankings(store, tokens, 9999)
    assert (ranked.authors, ranked.ranks) == (("fine", "better"), (1, 0))
    (ranked,) = store_rankings([*store, filed("no", give_back, None)], tokens, 9999)  # returned is below approved
    assert (ranked.authors, ranked.ranks) == (("fine", "better", "no"), (1, 0, 2))
    (ranked,) = store_rankings([store[1], filed("no", give_back, 3)], tokens, 9999)
    assert ranked.ranks == (0, 1)


def test_what_a_teacher_edits_is_ranked_over_what_was_there(report, tmp_path, scripted):
    scripted(PUPIL)
    main(["feedback", str(report), "--model", "m", "--rubric", "pupil", "--budget", "9999"])
    file = tmp_path / "보고서.md.feedback.json"
    changed = tmp_path / "edited.md"
    changed.write_text((tmp_path / "보고서.md.feedback.draft.md").read_text().replace("차례로 잘", "차례대로 아주 잘"))
    main(["feedback", "approve", str(file), "--by", "k", "--edited", str(changed)])
    assert main(["feedback", "export", str(tmp_path), "--out", str(tmp_path / "data")]) == 0
    (found,) = read_jsonl(tmp_path / "data" / "rankings.jsonl", Ranking)
    assert found.ranks == (0, 1) and "차례대로" in found.candidates[0] and "차례로 잘" in found.candidates[1]
    made = read_feedback(file)
    assert found.candidates[0] == answer_of(made.sections, made.scores)


def test_edited_feedback_keeps_what_was_first_written(report, tmp_path, scripted):
    scripted(PUPIL)
    main(["feedback", str(report), "--model", "m", "--rubric", "pupil", "--budget", "9999"])
    made, form = read_feedback(tmp_path / "보고서.md.feedback.json"), read_rubric("pupil")
    source = document([["물은 두 시간 뒤에 얼었고 소금물은 얼지 않았다."]])
    path = tmp_path / "edited.md"
    path.write_text(to_markdown(made, form).replace("쉬워요", "좋아요"))
    once = edited(made, path, source, form)
    path.write_text(to_markdown(once, form).replace("좋아요", "참 좋아요"))
    assert edited(once, path, source, form).written == made.sections
