"""Documents made for tests: PDF by hand, with Helvetica at given places; DOCX and HWPX as packed XML."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Text = tuple[float, float, float, bool, str]
"""Left and baseline in points from the left lower corner, size, bold, and what is written."""

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
HP, HH = "http://www.hancom.co.kr/hwpml/2011/paragraph", "http://www.hancom.co.kr/hwpml/2011/head"


def pdf(path: Path, pages: Sequence[Sequence[Text]], extra: str = "", rotate: int = 0) -> Path:
    """Write a PDF of letter pages; `extra` goes into its trailer, and with `rotate` text and page are turned by it."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>", ""]
    objects += [f"<</Type/Font/Subtype/Type1/BaseFont/{name}>>" for name in ("Helvetica", "Helvetica-Bold")]
    kids, turned = [], {0: "1 0 0 1", 90: "0 1 -1 0", 180: "-1 0 0 -1", 270: "0 -1 1 0"}[rotate]
    for texts in pages:
        drawn = "\n".join(
            f"BT /F{2 if bold else 1} {size} Tf {turned} {x} {y} Tm ({_escaped(text)}) Tj ET"
            for x, y, size, bold, text in texts
        )
        objects.append(f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream")
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Rotate {rotate}/Contents {len(objects)} 0 R"
            "/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<</Type/Pages/Count {len(kids)}/Kids[{' '.join(kids)}]>>"
    return _written(path, objects, extra)


def korean_pdf(path: Path, texts: Sequence[Text], font: str) -> Path:
    """Write one page in a Korean font that is named and not enclosed; whether text is bold is left out."""
    drawn = "\n".join(
        f"BT /F1 {size} Tf 1 0 0 1 {x} {y} Tm <{text.encode('utf-16-be').hex()}> Tj ET" for x, y, size, _, text in texts
    )
    return _written(path, [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream",
        f"<</Type/Font/Subtype/Type0/BaseFont/{font}/Encoding/UniKS-UCS2-H/DescendantFonts[6 0 R]>>",
        f"<</Type/Font/Subtype/CIDFontType0/BaseFont/{font}/DW 1000/CIDSystemInfo<</Registry(Adobe)/Ordering(Korea1)"
        "/Supplement 1>>/FontDescriptor 7 0 R>>",
        f"<</Type/FontDescriptor/FontName/{font}/Flags 4/FontBBox[0 -148 1001 880]/ItalicAngle 0/Ascent 880"
        "/Descent -148/CapHeight 880/StemV 99>>",
    ])  # fmt: skip


def _written(path: Path, objects: Sequence[str], extra: str = "") -> Path:
    body, places = "%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    body += f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}"
    start = body.index("xref\n0 ")
    body += f"trailer<</Size {len(places) + 1}/Root 1 0 R{extra}>>\nstartxref\n{start}\n%%EOF\n"
    path.write_bytes(body.encode("latin-1"))
    return path


def column(lines: Sequence[str], left: float, top: float, size: float = 10, bold: bool = False) -> list[Text]:
    """Return lines one below the other."""
    return [(left, top - 1.2 * size * index, size, bold, line) for index, line in enumerate(lines)]


def docx(path: Path, paragraphs: Sequence[tuple[str, str]], body: str = "") -> Path:
    """Write a DOCX of paragraphs with the names of their styles, and XML after them."""
    styles = {style: f"s{index}" for index, style in enumerate(dict.fromkeys(style for style, _ in paragraphs))}
    defined = "".join(
        f'<w:style w:styleId="{key}"><w:name w:val="{escape(style)}"/></w:style>' for style, key in styles.items()
    )
    written = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{styles[style]}"/></w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    return packed(
        path,
        {
            "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{written}{body}</w:body></w:document>',
            "word/styles.xml": f'<w:styles xmlns:w="{W}">{defined}</w:styles>',
        },
    )


def hwpx(path: Path, paragraphs: Sequence[tuple[str, str]], body: str = "", sections: int = 1) -> Path:
    """Write an HWPX of paragraphs with the names of their styles, the same in every section."""
    styles = {style: str(index) for index, style in enumerate(dict.fromkeys(style for style, _ in paragraphs))}
    defined = "".join(f'<hh:style id="{key}" name="{escape(style)}" engName=""/>' for style, key in styles.items())
    written = "".join(
        f'<hp:p styleIDRef="{styles[style]}"><hp:run charPrIDRef="0"><hp:t>{escape(text)}</hp:t></hp:run></hp:p>'
        for style, text in paragraphs
    )
    members = {
        "mimetype": "application/hwp+zip",
        "Contents/header.xml": f'<hh:head xmlns:hh="{HH}">{defined}</hh:head>',
    }
    for number in range(sections):
        members[f"Contents/section{number}.xml"] = f'<hp:sec xmlns:hp="{HP}">{written}{body}</hp:sec>'
    return packed(path, members)


def packed(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


def member(path: Path, name: str) -> str:
    """Return a packed file's text."""
    with zipfile.ZipFile(path) as file:
        return file.read(name).decode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
