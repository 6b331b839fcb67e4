"""What holds strangers' documents in check: limits of the reader; text that means something to Word or a terminal."""

import resource
import signal
import subprocess
from types import SimpleNamespace

import pytest

from momus.cli import main
from momus.documents import child
from momus.documents.limits import Limits
from momus.documents.readers.layout import _PAGE_NUMBER
from momus.documents.reading import read_document
from momus.errors import UserError
from support import papers


def _system(monkeypatch, hard, refused=()):
    """Put a system with given hard limits in place of this one; returns what is set on it."""
    done = {}

    def setrlimit(kind, limits):
        if kind in refused or not limits[0] <= limits[1] <= hard:
            raise ValueError("current limit exceeds maximum limit")
        done[kind] = limits

    names = {name: getattr(resource, name) for name in ("RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_AS", "RLIM_INFINITY")}
    fake = SimpleNamespace(getrlimit=lambda _: (hard, hard), setrlimit=setrlimit, **names)
    monkeypatch.setattr(child, "resource", fake)
    return done


@pytest.mark.parametrize("hard", [3, 120, 121, 10**15])
def test_what_the_shell_bounds_tighter_stays_so(hard, monkeypatch):
    done = _system(monkeypatch, hard)
    assert child._bounded(Limits()) == ()
    assert done[resource.RLIMIT_CPU][0] == min(hard, Limits().seconds)
    assert done[resource.RLIMIT_AS][0] == min(hard, Limits().memory_bytes)


def test_what_a_system_does_not_bound_is_said(monkeypatch):
    _system(monkeypatch, 10**15, refused=(resource.RLIMIT_AS, resource.RLIMIT_CORE))
    (note,) = child._bounded(Limits())
    assert "does not bound the reader's memory" in note


def test_a_reader_that_the_system_ended_is_no_slow_one(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("words")
    ended = subprocess.CompletedProcess([], -signal.SIGKILL, b"", b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(UserError, match="no memory was left"):
        read_document(path)


def _p(*runs):
    return f"<w:p>{''.join(runs)}</w:p>"


def _r(text):
    return f"<w:r><w:t>{text}</w:t></w:r>"


def test_word_text_is_read_once_wherever_it_stands(tmp_path):
    inner = f"<w:tbl><w:tr><w:tc>{_p(_r('inner'))}</w:tc></w:tr></w:tbl>"
    table = f"<w:tbl><w:tr><w:tc>{_p(_r('outer'))}{inner}</w:tc><w:tc>{_p(_r('beside'))}</w:tc></w:tr></w:tbl>"
    boxed = _p(_r("around"), f"<w:r><w:pict><w:txbxContent>{_p(_r('boxed'))}</w:txbxContent></w:pict></w:r>")
    moved = _p(f"<w:moveFrom>{_r('moved')}</w:moveFrom>", _r("left")) + _p(f"<w:moveTo>{_r('moved')}</w:moveTo>")
    linked = _p(f"<w:hyperlink>{_r('linked')}</w:hyperlink>")
    found = read_document(papers.docx(tmp_path / "a.docx", [], table + boxed + moved + linked))
    assert [piece.text for piece in found.pieces] == [
        "outer inner | beside",
        "around",
        "boxed",
        "left",
        "moved",
        "linked",
    ]
    assert any("tracked changes" in note for note in found.notes)


def test_a_page_that_word_notes_twice_is_one_page(tmp_path):
    broken, noted = '<w:r><w:br w:type="page"/></w:r>', "<w:r><w:lastRenderedPageBreak/></w:r>"
    body = _p(_r("One."), broken) + _p(noted, _r("Two.")) + _p(noted, _r("Three."))
    found = read_document(papers.docx(tmp_path / "a.docx", [], body))
    assert found.pages == 3 and [found.page_of(passage) for passage in ("One.", "Two.", "Three.")] == [1, 2, 3]


def test_every_format_has_a_longest_text(tmp_path):
    files = [
        papers.docx(tmp_path / "a.docx", [("Normal", "Some words of a text.")]),
        papers.hwpx(tmp_path / "a.hwpx", [("바탕글", "빛이 없으면 어떻게 될지 궁금했다.")]),
    ]
    for path in files:
        with pytest.raises(UserError, match="more than 10 characters"):
            read_document(path, Limits(characters=10))


def test_page_numbers_are_told_at_once():
    for text in ("12", "- 3 -", "Page xi", "p. 4 of 120", "7 쪽"):
        assert _PAGE_NUMBER.fullmatch(text)
    # Were the ways to cut these digits tried one by one, this would not end.
    assert not _PAGE_NUMBER.fullmatch("1" * 60 + "q")


def test_a_files_name_is_no_markup(tmp_path, capsys):
    path = tmp_path / "[bold]a[:b].md"
    path.write_text("# A title\n\nText of it.\n")
    assert main(["document", str(path)]) == 0
    assert "[bold]a[:b].md" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["²", "9" * 5000, "-1", "", "1e5"])
def test_sizes_and_levels_that_are_no_numbers_are_none(size, tmp_path):
    path = papers.docx(
        tmp_path / "a.docx",
        [("Normal", "First.")],
        f'<w:p><w:pPr><w:outlineLvl w:val="{size}"/></w:pPr><w:r><w:rPr><w:sz w:val="{size}"/></w:rPr>'
        "<w:t>Some text.</w:t></w:r></w:p>",
    )
    blocks = child.read(path, Limits()).blocks
    assert [block.text for block in blocks] == ["First.", "Some text."]
    assert {block.level for block in blocks} == {0}
    path = papers.hwpx(tmp_path / "a.hwpx", [("Normal", "First.")])
    letters = f'<hh:charPr id="0" height="{size}"/></hh:head>'
    header = papers.member(path, "Contents/header.xml").replace("</hh:head>", letters)
    section = papers.member(path, "Contents/section0.xml")
    papers.packed(path, {"Contents/header.xml": header, "Contents/section0.xml": section})
    assert [block.text for block in child.read(path, Limits()).blocks] == ["First."]
