"""Documents: what is read of each format, and bad files refused in one line."""

import json
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.documents.limits import Limits
from momus.documents.readers.words import Words
from momus.documents.reading import draw, read_document
from momus.errors import UserError
from support import papers

QUIXBUGS = Path(__file__).parents[3] / "shared" / "data" / "pdf" / "quixbugs.pdf"

LEFT = [
    "We study papers with two columns, and the left",
    "column comes first in every good rea-",
    "der of columns. It ends in the middle of a long",
]
RIGHT = [
    "sentence that the right column finishes. Nothing",
    "is lost, and the well-known hyphens stay where",
    "they belong, as it is in this well-",
    "known case.",
]


def _paper(path, **kwargs):
    first = papers.column(["A Paper About Two"], 150, 744, 20, True) + papers.column(["Columns"], 200, 724, 20, True)
    first += papers.column(["Ada Author, Somewhere"], 240, 708)
    first += papers.column(["Abstract"], 54, 690, 11, True) + papers.column(["Every reader should find this."], 54, 675)
    first += papers.column(["1 Introduction"], 54, 650, 12, True) + papers.column(LEFT, 54, 634)
    first += papers.column(RIGHT, 330, 690)
    first += papers.column(["Figure 1: What a caption looks like."], 330, 600)
    first += papers.column(["2 Results"], 330, 560, 12, True) + papers.column(
        ["The right column has results as well, it says."], 330, 544
    )
    second = papers.column(["More on the second page, which has two sides."], 54, 690)
    second += papers.column(["References"], 54, 600, 12, True)
    second += papers.column(["[1] A. Author. A paper of some sort. 2011."], 54, 584)
    second += papers.column(["A Appendix"], 330, 690, 12, True) + papers.column(
        ["What an appendix says belongs to the body."], 330, 674
    )
    pages = [first, second]
    for number, page in enumerate(pages, 1):
        page += papers.column([f"Proceedings of Somewhere, {number}"], 54, 775, 8)
        page += papers.column([str(number)], 300, 20, 9)
    return papers.pdf(path, pages, **kwargs)


def _kinds(document, kind):
    return [piece.text for piece in document.pieces if piece.kind == kind]


def test_a_paper_in_two_columns(tmp_path):
    found = read_document(_paper(tmp_path / "paper.pdf"))
    assert found.title == "A Paper About Two Columns"
    assert found.abstract == "Every reader should find this."
    assert [section.heading for section in found.sections] == ["1 Introduction", "2 Results", "A Appendix"]
    first = found.sections[0].paragraphs[0].text
    assert "in every good reader of columns" in first
    assert "a long sentence that the right column" in first and "this well-known case." in first
    assert _kinds(found, "caption") == ["Figure 1: What a caption looks like."]
    assert _kinds(found, "reference") == ["References", "[1] A. Author. A paper of some sort. 2011."]
    assert sorted(_kinds(found, "head")) == ["1", "2", "Proceedings of Somewhere, 1", "Proceedings of Somewhere, 2"]
    assert _kinds(found, "front") == ["Ada Author, Somewhere"]
    assert found.pages == 2 and found.language == "en"
    assert found.page_of("What an appendix says") == 2 and found.page_of("Nothing is lost,") == 1
    assert "[1]" not in found.text and "Proceedings" not in found.text


def test_the_order_of_drawing_does_not_matter(tmp_path):
    texts = papers.column(LEFT * 4, 54, 700) + papers.column(RIGHT * 4, 330, 700)
    one = read_document(papers.pdf(tmp_path / "one.pdf", [texts]))
    rows = sorted(texts, key=lambda text: (-text[1], text[0]))
    assert read_document(papers.pdf(tmp_path / "two.pdf", [rows])).text == one.text


@pytest.mark.skipif(not QUIXBUGS.exists(), reason="../shared/data is not here")
def test_a_real_paper(tmp_path, capsys):
    found = read_document(QUIXBUGS)
    assert found.title.startswith("QuixBugs: A Multi-Lingual Program Repair Benchmark Set")
    assert found.abstract.startswith("Recent years have seen") and found.abstract.endswith("to fix the bug.")
    names = ["1 Introduction", "2 Methodology", "3 Conclusion", "Acknowledgments"]
    assert [section.heading for section in found.sections] == names
    assert "Their problems have proved an excellent dataset" in found.text
    assert "sufficient for creating test objects" in found.text  # a ligature in a hyphenated word
    assert len(_kinds(found, "reference")) == 9 and "SPLASH" not in found.text
    assert [piece.pages for piece in found.captions] == [(2, 2)]
    page = tmp_path / "page.html"
    assert main(["document", str(QUIXBUGS), "--html", str(page)]) == 0
    assert "3 Conclusion" in capsys.readouterr().out
    assert page.read_text().count("data:image/jpeg") == 2


def test_docx(tmp_path):
    row = "<w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc>"
    changed = "<w:p><w:r><w:t>kept</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    broken = '<w:p><w:r><w:br w:type="page"/><w:t>Next page.</w:t></w:r></w:p>'
    path = papers.docx(
        tmp_path / "a.docx",
        [("Title", "A Title"), ("heading 1", "Background & aims"), ("Normal", "Some text."), ("heading 2", "Detail"),
         ("caption", "Plan of the room"), ("Normal", "More text.")],
        f"<w:tbl><w:tr>{row}{row}</w:tr></w:tbl>{changed}{broken}",
    )  # fmt: skip
    found = read_document(path)
    assert found.title == "A Title" and found.format == "docx"
    assert [(section.heading, section.level) for section in found.sections] == [("Background & aims", 1), ("Detail", 2)]
    assert [part.text for part in found.sections[1].paragraphs] == ["More text.", "a | a", "kept", "Next page."]
    assert found.captions[0].text == "Plan of the room"
    assert found.page_of("Next page.") == 2 and any("tracked changes" in note for note in found.notes)


def test_hwpx_in_korean(tmp_path):
    cell = "<hp:tc><hp:subList><hp:p><hp:run><hp:t>칸</hp:t></hp:run></hp:p></hp:subList></hp:tc>"
    table = f'<hp:p styleIDRef="9"><hp:run><hp:tbl><hp:tr>{cell}{cell}</hp:tr></hp:tbl></hp:run></hp:p>'
    path = papers.hwpx(
        tmp_path / "보고서.hwpx",
        [("제목", "식물의 빛"), ("개요 1", "1. 탐구 동기"), ("바탕글", "빛이 없으면 어떻게 될지 궁금했다."),
         ("개요 1", "참고 문헌"), ("바탕글", "과학 교과서")],
        table,
    )  # fmt: skip
    found = read_document(path)
    assert found.language == "ko" and found.title == "식물의 빛"
    assert [section.heading for section in found.sections] == ["1. 탐구 동기"]
    assert "교과서" not in found.text
    assert _kinds(found, "reference")[-1] == "칸 | 칸"


def test_markdown_and_text(tmp_path):
    path = tmp_path / "note.md"
    path.write_text("# Title\n\nFirst *words*\nof it.\n\n## Part\n\n- one\n- two\n\n```\ncode  here\n```\n")
    found = read_document(path)
    assert found.title == "Title"
    assert [part.text for part in found.sections[1].paragraphs] == ["- one", "- two", "code  here"]
    assert found.sections[0].paragraphs[0].text == "First words of it."
    korean = "나의 실험 보고서\n\n1. 서론\n\n물은 왜 어는가? 그것이 궁금했다.\n\n2. 결론\n\n차가우면 언다.\n"
    for encoding in ("utf-8", "utf-8-sig", "cp949", "utf-16"):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes(korean.encode(encoding))
        found = read_document(path)
        assert found.title == "나의 실험 보고서" and [part.heading for part in found.sections] == ["1. 서론", "2. 결론"]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_page_is_read_as_it_is_seen(turn, tmp_path):
    def placed(x, y, *rest):
        return ({90: (612 - y, x), 180: (612 - x, 792 - y), 270: (y, 792 - x)}[turn]) + rest

    texts = papers.column(LEFT * 3, 54, 500) + papers.column(["A stamp"], 54, 560)
    turned = papers.pdf(tmp_path / "a.pdf", [[placed(*text) for text in texts]], rotate=turn)
    upright = read_document(papers.pdf(tmp_path / "b.pdf", [texts]))
    found = read_document(turned)
    assert found.text == upright.text
    left, top, right, bottom = found.pieces[-1].places[0].box
    assert right > left and bottom > top


def test_text_across_the_page_is_left_out(tmp_path):
    path = papers.pdf(tmp_path / "a.pdf", [papers.column(LEFT * 3, 54, 700)])
    path.write_bytes(path.read_bytes().replace(b"1 0 0 1 54 700.0 Tm", b"0 1 -1 0 9 70 Tm", 1))
    assert read_document(path).text.startswith("column comes first")


KNOWN = ["well-known", "reader", "state-of-the-art", "columns", "rereading", "Momus", "on"]


@given(st.lists(st.sampled_from(KNOWN), min_size=1, max_size=6), st.data())
def test_a_hyphen_at_the_end_of_a_line_goes_or_stays(words, data):
    index = data.draw(st.integers(0, len(words) - 1))
    word = words[index]
    place = data.draw(st.integers(1, len(word) - 1).filter(lambda place: word[place] != "-"))
    left = word[:place] if word[place - 1] == "-" else word[:place] + "-"
    lines = [" ".join([*words[:index], left]), " ".join([word[place:], *words[index + 1 :]])]
    assert Words([" ".join(KNOWN), *lines]).joined(lines) == " ".join(words)


@pytest.mark.parametrize(
    ("elsewhere", "lines", "joined"),
    [
        ("the state-of-the-art", ["a state-", "of-the-art one"], "a state-of-the-art one"),
        ("", ["a state-", "of-the-art one"], "a state-of-the-art one"),
        ("", ["a state-of-", "the-art one"], "a state-of-the-art one"),
        ("a language", ["a multi-lan-", "guage tool"], "a multi-language tool"),
        ("the program", ["a pro-", "gram-level tool"], "a program-level tool"),
        ("multi-step party", ["a multi-", "party tool"], "a multi-party tool"),
        ("multi-step", ["a multi-", "ply tool"], "a multiply tool"),
        ("data-base database database", ["a data-", "base"], "a database"),
        ("data-base data-base database", ["a data-", "base"], "a data-base"),
        ("", ["no evi-", "dence at all"], "no evidence at all"),
        ("", ["a K-", "means run of GPT-", "style"], "a K-means run of GPT-style"),
        ("kmeans", ["a K-", "means run of 3-", "point"], "a Kmeans run of 3-point"),
        ("", ["the Bradley-", "Terry model"], "the Bradley-Terry model"),
    ],
)
def test_the_document_decides_on_a_hyphen(elsewhere, lines, joined):
    assert Words([elsewhere, *lines]).joined(lines) == joined


def test_halves_of_broken_words_are_no_evidence():
    lines = ["of a com-", "plete com plete com-", "plete thing"]
    assert Words(["com-plex", *lines]).joined(["com-", "plete"]) == "com-plete"  # "plete" stands by itself here
    assert Words(["com-plex", lines[0], "plete thing"]).joined(["com-", "plete"]) == "complete"


@pytest.mark.parametrize(
    ("elsewhere", "lines", "joined"),
    [
        (["그 실험은 다만 하나"], ["실험", "은 다", "만 한 번"], "실험은 다만 한 번"),  # words that stand elsewhere
        (["그 결과 또는 논의 뒤"], ["새 결과", "논의 뒤"], "새 결과 논의 뒤"),
        ([], ["소금", "물이 언다"], "소금 물이 언다"),  # nothing is known: most files end lines with words
        (["어떤 물이 ", "그런 때 "], ["소금", "물이 언 ", "다음 날"], "소금물이 언 다음 날"),  # spaces are drawn
        (["이 물은 소금 뒤", "그런 때 "], ["소금", "물은"], "소금 물은"),
        ([], ["물은", "A 컵에", "3도였다"], "물은 A 컵에 3도였다"),
    ],
)
def test_korean_lines_may_end_inside_a_word(elsewhere, lines, joined):
    assert Words([*elsewhere, *lines]).joined(lines) == joined


@pytest.mark.parametrize("font", ["HYSMyeongJo-Medium", "HYGothic-Medium"])
def test_a_korean_pdf_whose_fonts_are_named_and_not_enclosed(font, tmp_path):
    """The standard Korean fonts, which readers are to bring themselves: codes are UTF-16."""
    lines = papers.column(["소금물은 왜 늦게 어는가"], 180, 740, 20) + papers.column(["김하늘 (푸른중학교)"], 240, 715)
    lines += papers.column(["요약"], 54, 690, 13) + papers.column(["소금이 많을수록 늦게 얼었다."], 54, 672)
    lines += papers.column(["1. 서론"], 54, 640, 13)
    lines += papers.column(
        ["소금물이 맹물보다 늦게 어는 까닭을 알아보려", "고 실험을 하였다. 물은 두 시간 뒤에 얼었다."], 54, 622
    )
    lines += papers.column(["그림 1. 시간에 따른 온도"], 54, 580) + papers.column(["참고 문헌"], 54, 540, 13)
    lines += papers.column(["[1] 홍길동. 얼음의 과학. 2011."], 54, 522)
    found = read_document(papers.korean_pdf(tmp_path / "a.pdf", lines, font))
    assert (found.title, found.language) == ("소금물은 왜 늦게 어는가", "ko")
    assert found.abstract == "소금이 많을수록 늦게 얼었다." and _kinds(found, "front") == ["김하늘 (푸른중학교)"]
    assert [section.heading for section in found.sections] == ["1. 서론"]
    assert found.sections[0].paragraphs[0].text.endswith("고 실험을 하였다. 물은 두 시간 뒤에 얼었다.")
    assert _kinds(found, "caption") == ["그림 1. 시간에 따른 온도"] and len(_kinds(found, "reference")) == 2


def test_hangul_taken_apart_and_unseen_characters(tmp_path):
    path = tmp_path / "a.md"
    path.write_text(unicodedata.normalize("NFD", "# 보고서\n\n소금\u200b물은 늦게 언\u00ad다.\n"), encoding="utf-8")
    found = read_document(path)
    assert (found.title, found.language) == ("보고서", "ko") and found.sections[0].paragraphs[
        0
    ].text == "소금물은 늦게 언다."


def test_what_lies_in_the_folder_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('run')")
    (tmp_path / "a.txt").write_text("Some text that says a thing.")
    monkeypatch.chdir(tmp_path)
    assert "says a thing" in read_document(Path("a.txt")).text


def test_a_file_that_may_not_be_read_is_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr("momus.documents.reading.check_file", lambda *_: None)
    with pytest.raises(UserError, match=f"{tmp_path}: Is a directory"):
        read_document(tmp_path)


ENCRYPTED = f"/Encrypt<</Filter/Standard/V 1/R 2/O<{'11' * 32}>/U<{'22' * 32}>/P -4>>/ID[<00><00>]"
DTD = '<!DOCTYPE x [<!ENTITY a "b">]>'


def _bomb(path):
    return papers.packed(path, {"word/document.xml": "<w/>" + " " * 30_000_000})


def _lying_bomb(path):
    """Packed zeros that claim to be few: the size in both headers is changed."""
    papers.packed(path, {"word/document.xml": " " * 30_000_000})
    data = path.read_bytes()
    path.write_bytes(data.replace((30_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    return path


def _deep(path):
    return papers.packed(path, {"word/document.xml": "<a>" * 300_000 + "</a>" * 300_000})


def _cut(path):
    whole = papers.docx(path, [("Normal", "text " * 1000)]).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _write(path, data):
    path.write_bytes(data)
    return path


BAD = {
    "missing.pdf": (lambda path: path, "no such file"),
    "empty.pdf": (lambda path: _write(path, b""), "empty"),
    "noise.pdf": (lambda path: _write(path, bytes(range(256)) * 9), "broken PDF"),
    "head.pdf": (lambda path: _write(path, b"%PDF-1.4\n" + b"x" * 999), "broken PDF"),
    "locked.pdf": (lambda path: papers.pdf(path, [papers.column(LEFT, 54, 700)], ENCRYPTED), "needs a password"),
    "scan.pdf": (lambda path: papers.pdf(path, [[], []]), "text recognition"),
    "pages.pdf": (lambda path: papers.pdf(path, [[]] * 21), "21 pages: the limit is 20"),
    "large.txt": (lambda path: _write(path, b"a " * 1_100_000), "2 MB: the limit is 2 MB"),
    "long.txt": (lambda path: _write(path, b"a " * 60_000), "100,000 characters"),
    "bytes.txt": (lambda path: _write(path, b"\xff\xfe\xff" * 9), "save it as UTF-8"),
    "blank.txt": (lambda path: _write(path, b" \n \n"), "no text"),
    "bomb.docx": (_bomb, "more than 20 MB"),
    "lying.docx": (_lying_bomb, "broken file"),
    "cut.docx": (_cut, "broken file"),
    "deep.docx": (_deep, ""),
    "entity.docx": (lambda path: papers.packed(path, {"word/document.xml": DTD + "<x>&a;</x>"}), "entities"),
    "other.docx": (lambda path: papers.packed(path, {"a.txt": "a"}), "neither a Word"),
    "text.docx": (lambda path: _write(path, b"text"), "not the DOCX document"),
    "many.hwpx": (lambda path: papers.packed(path, {f"{i}": "" for i in range(101)}), "101 files"),
    "old.hwp": (lambda path: _write(path, bytes.fromhex("d0cf11e0a1b11ae1") + b"HWP Document File"), "save it as HWPX"),
    "locked.docx": (
        lambda path: _write(path, bytes.fromhex("d0cf11e0a1b11ae1") + "EncryptedPackage".encode("utf-16-le")),
        "needs a password",
    ),
    "locked.hwpx": (
        lambda path: papers.packed(
            path, {"Contents/section0.xml": "<s/>", "META-INF/manifest.xml": "<m><f><encryption-data/></f></m>"}
        ),
        "needs a password",
    ),
    "picture.png": (lambda path: _write(path, b"\x89PNG"), "a picture: put it through text recognition"),
    "sheet.ods2": (lambda path: _write(path, b"\x89PNG"), "can be read, not .ods2"),
    "older.hwp": (lambda path: _write(path, b"HWP Document File V3.00 \x1a" + bytes(99)), "save it as HWPX or PDF"),
}  # fmt: skip
SMALL = Limits(file_bytes=2_000_000, unpacked_bytes=20_000_000, members=100, pages=20, characters=100_000, seconds=20)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line(name, tmp_path):
    make, message = BAD[name]
    with pytest.raises(UserError) as caught:
        read_document(make(tmp_path / name), SMALL)
    assert message in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


def test_a_packed_file_with_a_password_is_refused(tmp_path):
    path = papers.docx(tmp_path / "a.docx", [("Normal", "text")])
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        starts = [info.header_offset for info in file.infolist()]
    for start in starts:
        data[start + 6] |= 1
    central = 0
    while (central := data.find(b"PK\x01\x02", central)) >= 0:
        data[central + 8] |= 1
        central += 4
    path.write_bytes(data)
    with pytest.raises(UserError, match="needs a password"):
        read_document(path)


def test_memory_and_time_are_bounded(tmp_path):
    path = _write(tmp_path / "a.txt", b"word " * 300_000)
    with pytest.raises(UserError, match="the reader crashed"):
        read_document(path, Limits(memory_bytes=30_000_000))
    page = [(54 + index % 9, 700 - index % 600, 3, False, "word " * 40) for index in range(3000)]
    with pytest.raises(UserError, match="not read after"):
        read_document(papers.pdf(tmp_path / "a.pdf", [page] * 12), Limits(seconds=1))


def test_pictures_of_pages(tmp_path):
    path = papers.pdf(tmp_path / "a.pdf", [papers.column(LEFT, 54, 700)] * 3)
    assert draw(path, tmp_path, 2) == 2
    assert (tmp_path / "2.jpg").read_bytes().startswith(b"\xff\xd8") and not (tmp_path / "3.jpg").exists()


def test_what_a_page_shows_is_escaped(tmp_path):
    path = _write(tmp_path / "a.txt", b"<script>alert(1)</script> is what it says, and more.")
    assert main(["document", str(path), "--html", str(tmp_path / "a.html")]) == 0
    assert "<script" not in (tmp_path / "a.html").read_text()


def test_as_json_and_without_the_heavy_libraries(tmp_path):
    path = _write(tmp_path / "a.txt", b"A title\n\nSome text that says a thing.\n")
    code = (
        "import sys; from momus.cli import main; main(sys.argv[1:]);"
        "print(*{n.split('.')[0] for n in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "document", str(path), "--json"], capture_output=True, text=True)
    assert json.loads(done.stdout)["pieces"][0] == {"kind": "title", "text": "A title", "places": [], "level": 0}
    assert not {"torch", "transformers", "pypdfium2"} & set(done.stderr.split())
