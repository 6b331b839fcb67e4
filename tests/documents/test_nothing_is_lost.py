"""Every word of a document is in its text or in a note: whatever it stands in, whatever the encoding."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.documents.limits import Limits
from momus.documents.readers.docx import read_docx
from momus.documents.readers.html import html_lines
from momus.documents.readers.hwpx import read_hwpx
from momus.documents.readers.plain import decode, read_markdown
from momus.errors import UserError
from support import papers

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
M = "http://schemas.openxmlformats.org/officeDocument/2006/math"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"

# What a run's word may stand in, in a paragraph: {} is the word as a run, {m} as a part of an equation.
INLINE = [
    "{}",
    '<w:hyperlink r:id="x" xmlns:r="r">{}</w:hyperlink>',
    "<w:ins>{}</w:ins>",
    "<w:moveTo>{}</w:moveTo>",
    "<w:smartTag>{}</w:smartTag>",
    '<w:fldSimple w:instr="REF x">{}</w:fldSimple>',
    "<w:sdt><w:sdtContent>{}</w:sdtContent></w:sdt>",
    "<w:r><w:ruby><w:rt><w:r><w:t>gloss</w:t></w:r></w:rt><w:rubyBase>{}</w:rubyBase></w:ruby></w:r>",
    "<w:r><w:pict><w:txbxContent><w:p>{}</w:p></w:txbxContent></w:pict></w:r>",
    "<w:r><mc:AlternateContent><mc:Choice><w:txbxContent><w:p>{}</w:p></w:txbxContent></mc:Choice>"
    "<mc:Fallback><w:pict><w:txbxContent><w:p>{}</w:p></w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r>",
    "<m:oMath>{m}</m:oMath>",
    "<m:oMathPara><m:oMath><m:f><m:num>{m}</m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f></m:oMath></m:oMathPara>",
    "<m:oMath><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup>{m}</m:sup></m:sSup></m:oMath>",
    "<m:oMath><m:nary><m:sub>{m}</m:sub><m:sup/><m:e><m:d><m:e>{m}</m:e></m:d></m:e></m:nary></m:oMath>",
    "<m:oMath><m:m><m:mr><m:e>{m}</m:e></m:mr></m:m><m:rad><m:deg/><m:e>{m}</m:e></m:rad></m:oMath>",
    "<m:oMath><m:func><m:fName>{m}</m:fName><m:e>{m}</m:e></m:func><m:box><m:e>{m}</m:e></m:box></m:oMath>",
]
BLOCK = [
    "<w:p>{}</w:p>",
    "<w:tbl><w:tr><w:tc><w:p>{}</w:p></w:tc></w:tr></w:tbl>",
    "<w:tbl><w:tr><w:tc><w:tbl><w:tr><w:tc><w:p>{}</w:p></w:tc></w:tr></w:tbl></w:tc></w:tr></w:tbl>",
    "<w:sdt><w:sdtContent><w:p>{}</w:p></w:sdtContent></w:sdt>",
    "<w:customXml><w:p>{}</w:p></w:customXml>",
    "<w:ins><w:p>{}</w:p></w:ins>",
]
words = st.integers(0, 10**6).map(lambda number: f"word{number}z")
settings.register_profile("files", deadline=None, max_examples=40, derandomize=True)


def written(form, text):
    run, part = f"<w:r><w:t>{text}</w:t></w:r>", f"<m:r><m:t>{text}</m:t></m:r>"
    return form.replace("{m}", part).replace("{}", run)


def word_file(path, body, **parts):
    document = f'<w:document xmlns:w="{W}" xmlns:m="{M}" xmlns:mc="{MC}"><w:body>{body}</w:body></w:document>'
    others = {f"word/{name}.xml": f'<w:{name} xmlns:w="{W}">{xml}</w:{name}>' for name, xml in parts.items()}
    return papers.packed(path, {"word/document.xml": document, **others})


@settings(settings.get_profile("files"))
@given(
    st.lists(
        st.tuples(words, st.sampled_from(INLINE), st.sampled_from(BLOCK)),
        min_size=1,
        max_size=6,
        unique_by=lambda part: part[0],
    ),
    st.booleans(),
)
def test_every_word_of_a_docx_is_read_once(tmp_path_factory, parts, strict):
    body = "".join(block.replace("{}", written(inline, word)) for word, inline, block in parts)
    path = word_file(tmp_path_factory.mktemp("docx") / "a.docx", body)
    if strict:
        path = papers.packed(path, {"word/document.xml": papers.member(path, "word/document.xml").replace(W, STRICT)})
    text = "\n".join(block.text for block in read_docx(path, Limits()).blocks)
    for word, inline, _ in parts:
        assert text.count(word) == max(1, inline.count("{m}"))  # the fallback of an alternative is the same text again
    assert "gloss" not in text


def test_notes_come_after_the_text_and_what_is_left_out_is_told(tmp_path):
    mark = '<w:r><w:footnoteReference w:id="7"/></w:r>'
    note = '<w:footnote w:id="7"><w:p><w:r><w:t>The note.</w:t></w:r></w:p></w:footnote>'
    comment = '<w:comment w:id="1"><w:p><w:r><w:t>Really?</w:t></w:r></w:p></w:comment>'
    body = f"<w:p><w:r><w:t>A claim</w:t></w:r>{mark}<w:r><w:t>.</w:t></w:r></w:p>"
    head = "<w:p><w:r><w:t>Running head</w:t></w:r></w:p>"
    path = word_file(tmp_path / "a.docx", body, footnotes=note, comments=comment, header1=head)
    read = read_docx(path, Limits())
    assert [block.text for block in read.blocks] == ["A claim [1].", "[1] The note."]
    assert read.blocks[1].hint == "footnote"
    assert "it has 1 comment, left out" in read.notes and "its headers and footers were left out" in read.notes


HWPX_INLINE = [
    "<hp:t>{}</hp:t>",
    "<hp:t>a<hp:tab/>{}</hp:t>",
    "<hp:t>a<hp:markpenBegin/>b<hp:markpenEnd/>{}</hp:t>",
    "<hp:equation><hp:script>{}</hp:script></hp:equation>",
    "<hp:tbl><hp:tr><hp:tc><hp:subList><hp:p><hp:run><hp:t>{}</hp:t></hp:run></hp:p></hp:subList></hp:tc></hp:tr></hp:tbl>",
    "<hp:rect><hp:drawText><hp:subList><hp:p><hp:run><hp:t>{}</hp:t></hp:run></hp:p></hp:subList></hp:drawText></hp:rect>",
    "<hp:ctrl><hp:footNote><hp:subList><hp:p><hp:run><hp:t>{}</hp:t></hp:run></hp:p></hp:subList></hp:footNote></hp:ctrl>",
    "<hp:container><hp:ellipse><hp:drawText><hp:subList><hp:p><hp:run><hp:t>{}</hp:t></hp:run></hp:p></hp:subList>"
    "</hp:drawText></hp:ellipse></hp:container>",
]


@settings(settings.get_profile("files"))
@given(st.lists(st.tuples(words, st.sampled_from(HWPX_INLINE)), min_size=1, max_size=5, unique_by=lambda part: part[0]))
def test_every_word_of_an_hwpx_is_read_once(tmp_path_factory, parts):
    runs = "".join(f"<hp:run>{form.replace('{}', word)}</hp:run>" for word, form in parts)
    path = papers.hwpx(tmp_path_factory.mktemp("hwpx") / "a.hwpx", [], f"<hp:p>{runs}</hp:p>")
    text = "\n".join(block.text for block in read_hwpx(path, Limits()).blocks)
    assert [text.count(word) for word, _ in parts] == [1] * len(parts)


TAGS = [
    "p align=center",
    "div",
    "details",
    "table",
    "tr",
    "td",
    "summary",
    "b",
    "kbd",
    "center",
    "h2",
    "ul",
    "li",
    "span",
]


@settings(settings.get_profile("files"))
@given(
    st.recursive(
        words, lambda inner: st.tuples(st.sampled_from(TAGS), st.lists(inner, min_size=1, max_size=3)), max_leaves=8
    )
)
def test_every_word_of_html_in_markdown_is_read(tmp_path_factory, tree):
    def source(node):
        if isinstance(node, str):
            return f" {node} "
        tag, inner = node
        return f"<{tag}>{''.join(map(source, inner))}</{tag.split()[0]}>"

    def leaves(node):
        return [node] if isinstance(node, str) else [leaf for inner in node[1] for leaf in leaves(inner)]

    path = tmp_path_factory.mktemp("md") / "a.md"
    path.write_text(f"# Note\n\n{source(tree)}\n\nAfter it.\n")
    text = "\n".join(block.text for block in read_markdown(path, Limits()).blocks)
    assert sorted(re.findall(r"word\d+z", text)) == sorted(leaves(tree))
    assert "<" not in text


def test_hidden_html_is_told_and_cells_stand_apart():
    assert html_lines("<tr><td>1</td><td>2</td></tr>") == (["1 | 2"], False)
    assert html_lines("<!-- a secret -->seen<script>alert()</script>") == (["seen"], True)
    assert html_lines("2 < 3 &amp; 4<br>5") == (["2 < 3 & 4", "5"], False)


WESTERN = "abc defg é ü ñ ç ‘x’ “y” it’s – — … € ½ ²"
KOREAN = ["이 보고서는", "실험 결과를 정리한다.", "Python 코드", "“인용”", "10℃", "그리고 3개"]


@given(st.lists(st.sampled_from(WESTERN.split()), min_size=1, max_size=20))
def test_western_windows_text_is_never_read_as_korean(tmp_path_factory, chosen):
    text = "Some words of a note. " * len(chosen) + " ".join(chosen)
    assert decode(tmp_path_factory.getbasetemp() / "a.txt", text.encode("cp1252")) == text


@given(st.lists(st.sampled_from(KOREAN), min_size=1, max_size=12).filter(lambda c: any("보고서" in part for part in c)))
def test_korean_windows_text_is_read_as_korean(tmp_path_factory, chosen):
    text = "\n".join(chosen)
    assert decode(tmp_path_factory.getbasetemp() / "a.txt", text.encode("cp949")) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Это отчёт об эксперименте.", "cp1251"),
        ("これは実験の報告です。", "shift-jis"),
        ("这是一份实验报告。", "gbk"),
        ("Αυτή είναι μια αναφορά.", "cp1253"),
        ("これは実験の報告です。", "euc-jp"),
    ],
)
def test_nothing_is_guessed_into_another_language(tmp_path, text, encoding):
    with pytest.raises(UserError, match="tried UTF-8, Korean CP949, Windows-1252"):
        decode(tmp_path / "a.txt", text.encode(encoding))


OTHERS = {
    "mac_roman": "Dies ist ein Bericht über Größe. It doesn’t say more. Un café très cher, élève.",
    "iso2022_jp": "これは日本語の報告書です。結果は良好でした。",
    "iso2022_kr": "이 보고서는 결과를 정리한다.",
    "shift_jis": "これは日本語の報告書です。結果は良好でした。",
    "gb18030": "这是一份中文报告。结果很好，但仍有改进的余地。",
    "big5": "這是一份中文報告。結果很好，但仍有改進的餘地。",
    "koi8-r": "Это отчёт о работе. Результаты хорошие.",
    "cp1251": "Это отчёт о работе. Результаты хорошие.",
    "cp1253": "Αυτή είναι μια έκθεση. Τα αποτελέσματα είναι καλά.",
    "cp1255": "זה דוח על העבודה והתוצאות טובות.",
    "cp850": "Dies ist ein Bericht über Größe. Die Ergebnisse sind schön.",
    "utf-16-le": "A report.", "utf-32": "A report.",
}  # fmt: skip


@pytest.mark.parametrize("encoding", OTHERS)
def test_a_text_in_an_encoding_that_is_not_known_is_refused_and_not_guessed_at(tmp_path, encoding):
    with pytest.raises(UserError, match="not text that can be read for certain"):
        decode(tmp_path / "a.txt", OTHERS[encoding].encode(encoding))


WORD_ONLY = {
    "a gloss": ("<w:r><w:ruby><w:rt><w:r><w:t>gloss</w:t></w:r></w:rt><w:rubyBase/></w:ruby></w:r>", "glosses"),
    "another format": ("<w:altChunk/>", "another format"),
    "another file": ("<w:subDoc/>", "another file"),
    "WordArt": ('<v:textpath xmlns:v="urn:schemas-microsoft-com:vml" string="Sale!"/>', "WordArt"),
    "a picture's description": ('<w:docPr descr="A cat."/>', "descriptions of pictures"),
    "a form": ('<w:ffData><w:listEntry w:val="yes"/></w:ffData>', "choices of a form"),
}


@pytest.mark.parametrize("name", WORD_ONLY)
def test_what_is_not_read_of_a_word_document_is_told(tmp_path, name):
    inside, told = WORD_ONLY[name]
    paragraphs = [("Title", "A title"), ("Normal", "Some text.")]
    assert not read_docx(papers.docx(tmp_path / "whole.docx", paragraphs, ""), Limits()).notes
    [note] = read_docx(papers.docx(tmp_path / "a.docx", paragraphs, f"<w:p>{inside}</w:p>"), Limits()).notes
    assert told in note
