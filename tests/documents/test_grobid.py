# ruff: noqa: E501
"""A PDF read by GROBID: answers of the shape that its documentation and its client's samples show, from a server here."""

import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from momus.cli import main
from momus.documents.document import Place
from momus.documents.readers import grobid as adapter
from momus.documents.readers.grobid import read_with_grobid
from momus.errors import UserError
from support import papers

TEI = """<?xml version="1.0" encoding="UTF-8"?>
<TEI xml:space="preserve" xmlns="http://www.tei-c.org/ns/1.0"
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
xsi:schemaLocation="http://www.tei-c.org/ns/1.0 https://raw.githubusercontent.com/kermitt2/grobid/master/Grobid.xsd"
 xmlns:xlink="http://www.w3.org/1999/xlink">
\t<teiHeader xml:lang="en">
\t\t<fileDesc>
\t\t\t<titleStmt>
\t\t\t\t<title level="a" type="main" coords="1,61.2,79.2,489.6,20.0;1,61.2,102.0,300.0,20.0">Bees that
 count</title>
\t\t\t\t<funder ref="#_a"><orgName type="full">A Fund</orgName></funder>
\t\t\t</titleStmt>
\t\t\t<publicationStmt><publisher>Honey Press</publisher><availability status="unknown"><licence/></availability>
\t\t\t</publicationStmt>
\t\t\t<sourceDesc><biblStruct><analytic>
\t\t\t\t<author><persName coords="1,56.69,234.15,85.88,9.71"><forename type="first">Ada</forename><surname>Bee</surname>
</persName><email>ada@example.org</email></author>
\t\t\t\t<title level="a" type="main">Bees that count</title></analytic>
\t\t\t\t<note type="submission">Received: 1 May 2020</note></biblStruct></sourceDesc>
\t\t</fileDesc>
\t\t<encodingDesc><appInfo><application version="0.8.1" ident="GROBID" when="2024-08-26T10:05+0000">
<ref target="https://github.com/kermitt2/grobid"/></application></appInfo></encodingDesc>
\t\t<profileDesc>
\t\t\t<textClass><keywords><term>bees</term><term>numbers</term></keywords></textClass>
\t\t\t<abstract>
<div xmlns="http://www.tei-c.org/ns/1.0"><head>Background.</head><p>Bees may count.</p></div>
<div xmlns="http://www.tei-c.org/ns/1.0"><p>We looked.</p></div>
\t\t\t</abstract>
\t\t</profileDesc>
\t</teiHeader>
\t<facsimile>
\t\t<surface n="1" ulx="0.0" uly="0.0" lrx="612.0" lry="792.0"/>
\t\t<surface n="2" ulx="0.0" uly="0.0" lrx="612.0" lry="792.0"/>
\t\t<surface n="3" ulx="0.0" uly="0.0" lrx="612.0" lry="792.0"/>
\t</facsimile>
\t<text xml:lang="en">
\t\t<body>
<div xmlns="http://www.tei-c.org/ns/1.0"><head n="1." coords="1,61.2,300.0,80.0,12.0">Introduction</head><p
coords="1,61.2,316.8,200.0,9.6;1,61.2,720.0,200.0,9.6;1,330.0,79.2,200.0,9.6;2,61.2,79.2,100.0,9.6">Some count <ref
type="bibr" coords="1,304.72,601.94,10.01,8.98" target="#b0">[1]</ref>, see <ref type="figure" target="#fig_0">Fig. 1
</ref>.</p></div>
<div xmlns="http://www.tei-c.org/ns/1.0"><head n="2.1">How we looked</head><p>We counted what they count:</p><formula
xml:id="formula_0" coords="2,319.75,324.34,218.81,23.08">c = 4<label>(1)</label></formula><p>where c is a count.</p>
<list><item>sugar</item><item>water</item></list></div>
<div xmlns="http://www.tei-c.org/ns/1.0"><head>Results</head><p>Bees count to four.</p></div>
<note place="foot" n="1" xml:id="foot_0" coords="2,61.2,700.0,100.0,8.0">Some to five.</note>
<figure xmlns="http://www.tei-c.org/ns/1.0" xml:id="fig_0" coords="3,61.2,396.0,306.0,7.4;3,100.0,79.2,200.0,300.0"><head>
Fig. 1 .</head><label>1</label><figDesc>Fig. 1 A bee that counts.</figDesc><graphic coords="3,155.68,94.85,283.87,201.88"
type="bitmap" /></figure>
<figure xmlns="http://www.tei-c.org/ns/1.0" type="table" xml:id="tab_0" coords="3,61.2,500.0,306.0,7.4"><head>Table 1 :
</head><label>1</label><figDesc><div><p>How far bees count.</p></div></figDesc><table><row><cell>bee</cell><cell>4</cell>
</row></table></figure>
<figure xmlns="http://www.tei-c.org/ns/1.0" coords="2,63.84,94.85,467.66,188.56"><head></head><label></label><figDesc>
</figDesc><graphic coords="2,63.84,94.85,467.66,188.56" type="bitmap" /></figure>
\t\t</body>
\t\t<back>
\t\t\t<div type="acknowledgement">
<div><head>Acknowledgements</head><p>We thank <rs type="funder">A Fund</rs>.</p></div>
\t\t\t</div>
\t\t\t<listOrg type="funding"><org type="funding" xml:id="_a"><idno type="grant-number">16SV</idno></org></listOrg>
\t\t\t<div type="annex">
<div xmlns="http://www.tei-c.org/ns/1.0"><head n="A">More bees</head><p>Wasps do not count.</p></div>\t\t\t</div>
\t\t\t<div type="references">

\t\t\t\t<listBibl>

<biblStruct coords="3,61.2,600.0,227.6,6.6" xml:id="b0">
\t<analytic><title level="a" type="main">Counting</title><author><persName><forename type="first">F</forename><surname>Wasp
</surname></persName></author></analytic><monogr><title level="j">Bees</title><imprint><date type="published"
when="2014">2014</date></imprint></monogr><note type="raw_reference">Wasp F. Counting. Bees. 2014.</note></biblStruct>
<biblStruct xml:id="b1"><analytic><title level="a">Adding</title><author><persName><forename>G</forename><surname>Fly</surname>
</persName></author></analytic></biblStruct>
\t\t\t\t</listBibl>
\t\t\t</div>
\t\t</back>
\t</text>
</TEI>
"""


@pytest.fixture
def server(monkeypatch):
    """A server and what it answers: a list of status and body, the last for ever."""
    monkeypatch.setattr(adapter, "_PAUSE", 0.01)

    class Handler(BaseHTTPRequestHandler):
        answers, seen = [(200, TEI)], []

        def do_POST(self):
            Handler.seen.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            code, body = Handler.answers.pop(0) if len(Handler.answers) > 1 else Handler.answers[0]
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", Handler
    running.shutdown()
    running.server_close()


@pytest.fixture
def file(tmp_path):
    return papers.pdf(tmp_path / "a.pdf", [papers.column(["Something."], 54, 700)] * 3)


def _kinds(document, kind):
    return [piece.text for piece in document.pieces if piece.kind == kind]


def test_what_it_answers_becomes_a_document(file, server):
    url, _ = server
    found = read_with_grobid(file, url + "/")
    assert (found.title, found.pages, found.language) == ("Bees that count", 3, "en")
    assert found.abstract == "Background: Bees may count.\n\nWe looked."
    assert [(part.heading, part.level) for part in found.sections] == [
        ("1. Introduction", 1), ("2.1 How we looked", 2), ("Results", 1), ("Acknowledgements", 1), ("A More bees", 1)
    ]  # fmt: skip
    texts = [[part.text for part in section.paragraphs] for section in found.sections]
    assert texts[0] == ["Some count [1], see Fig. 1 ."] and texts[3] == ["We thank A Fund."]
    assert texts[1] == ["We counted what they count:", "c = 4 (1)", "where c is a count.", "sugar water"]
    assert _kinds(found, "caption") == ["Fig. 1 A bee that counts.", "Table 1: How far bees count."]
    assert _kinds(found, "footnote") == ["Some to five."]
    assert _kinds(found, "reference") == ["Wasp F. Counting. Bees. 2014.", "Adding G Fly"]
    assert "16SV" not in found.model_dump_json() and "Received" not in found.model_dump_json()


def test_places_are_those_of_the_lines_column_by_column(file, server):
    url, handler = server
    found = read_with_grobid(file, url)
    by_text = {piece.text: piece.places for piece in found.pieces}
    assert by_text["Bees that count"] == (Place(1, (0.1, 0.1, 0.9, 0.154)),)
    left, right, other = by_text["Some count [1], see Fig. 1 ."]
    assert left == Place(1, (0.1, 0.4, 0.4268, 0.9212)) and right.box[0] == 0.5392 and other.page == 2
    assert [place.page for place in by_text["Fig. 1 A bee that counts."]] == [3]
    assert found.page_of("How far bees count.") == 3
    handler.answers = [(200, re.sub(r"<facsimile>.*?</facsimile>", "", TEI, flags=re.DOTALL))]
    bare = read_with_grobid(file, url)
    assert bare.pages == 3 and bare.pieces[0].places == (Place(1),)
    assert [piece.pages for piece in bare.pieces] == [piece.pages for piece in found.pieces]


def test_what_it_is_sent(file, server):
    url, handler = server
    read_with_grobid(file, url)
    path, body = handler.seen[-1]
    assert path == "/api/processFulltextDocument" and file.read_bytes() in body
    fields = dict(re.findall(rb'name="(\w+)"\r\n\r\n(\w+)', body))
    assert fields[b"consolidateHeader"] == fields[b"consolidateCitations"] == b"0"  # it asks nobody else
    assert re.search(rb'name="input"; filename="document.pdf"\r\nContent-Type: application/pdf', body)


def test_a_busy_server_is_asked_again(file, server):
    url, handler = server
    handler.answers = [(503, ""), (503, ""), (200, TEI)]
    assert read_with_grobid(file, url).title == "Bees that count" and len(handler.seen) == 3
    handler.answers = [(503, "")]
    with pytest.raises(UserError, match="still busy after 6 attempts"):
        read_with_grobid(file, url)


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (200, "<a/>", "not TEI"),
        (
            200,
            TEI.replace("<body>", f"<body>{'<div>' * 3000}").replace("</body>", f"{'</div>' * 3000}</body>"),
            "nested",
        ),
        (200, TEI[:2000], "not TEI"),
        (200, "<html>A proxy's page", "not TEI"),
        (200, '<!DOCTYPE x [<!ENTITY a "b">]>' + TEI[39:], "not TEI"),
        (200, '<TEI xmlns="http://www.tei-c.org/ns/1.0"><text/></TEI>', "found no text"),
        (204, "", "found no text"),
        (400, "", "refused it: 400"),
        (500, "[TIMEOUT] PDF to XML conversion timed out", "refused it: 500"),
    ],
)
def test_what_it_cannot_do_is_one_line(code, body, message, file, server, capsys):
    url, handler = server
    handler.answers = [(code, body)]
    assert main(["document", str(file), "--grobid", url]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_what_is_not_for_it(tmp_path, file):
    with pytest.raises(UserError, match="no answer"):
        read_with_grobid(file, "http://127.0.0.1:9")
    with pytest.raises(UserError, match="no answer"):
        read_with_grobid(file, "localhost")
    text = tmp_path / "a.txt"
    text.write_text("Text.")
    with pytest.raises(UserError, match="PDF only"):
        read_with_grobid(text, "http://127.0.0.1:9")


def test_the_page_shows_it_beside_the_pages(file, server, tmp_path):
    url, _ = server
    page = tmp_path / "page.html"
    assert main(["document", str(file), "--grobid", url, "--html", str(page)]) == 0
    assert page.read_text().count("data:image/jpeg") == 3 and "Bees that count" in page.read_text()
