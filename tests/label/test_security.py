"""What was asked of the workbench's security, by number, where test_app.py does not show it.

| | | where |
|---|---|---|
| 1 | every route, every role | test_app: test_every_route_asks_for_its_role |
| 2 | the work of others is 404 | test_app: test_the_work_of_others_is_not_there; test_feedback_kind: …_only_their_own |
| 3 | links: looking does not use them | test_app: test_looking_at_a_link_does_not_use_it |
| 4 | sessions: new at sign-in, dead after leaving, pausing | test_app: test_sessions_are_new_…; test_people |
| 5 | cookies | test_app: test_cookies_are_for_this_server_only |
| 6 | forged requests | test_app: test_forged_requests_are_refused |
| 7 | rates: sign-in, questions to models and runs of code | test_app: test_too_many_tries_…; here |
| 8 | no enumeration (there are no addresses to guess; links are answered alike) | test_app: test_looking_at_a_link_… |
| 9 | strangers' texts in Chromium, every kind | browser/test_tasks: test_texts_of_strangers_do_nothing |
| 10 | nothing is asked of another server | browser/conftest: sign_in fails every test for it |
| 11 | headers | test_app: test_every_answer_has_strict_headers |
| 12 | names, files, labels of fences, cells of CSV | test_app: test_names_are_text_everywhere; test_dashboard; here |
| 13 | planted names reach no labeler | test_app: test_planted_names_reach_no_labeler |
| 14 | nothing but the words tells sources apart | test_app: test_nothing_but_the_texts_…; here, a classifier |
| 15 | sizes and order | test_app: test_pages_differ_in_nothing_but_what_critiques_say |
| 16 | authors never judge their own | test_exchange: test_the_loop_…; test_store: test_an_author_never_judges_… |
| 17 | injections into what a critic reads | here; tests/critics/test_injections.py |
| 18 | paths, links, sizes of what comes in | here; tests/documents (bombs); test_app: test_sizes_and_broken_bodies |
| 19 | escapes | tests/sandbox/test_escapes.py; here through the server |
| 20 | secrets; addresses of models | here; test_people: test_only_digests_…; test_app: test_failures_…; tests/lm |
"""

import json
import logging
import re
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random

import pytest

from label.test_app import Bench
from momus.cli import main
from momus.critique import Comment, Critique, format_critique
from momus.documents.giving import places_in
from momus.documents.store import document_of
from momus.errors import UserError
from momus.label.probe import ChatModels, catches, open_models
from momus.label.running import Runner, open_runner
from momus.label.texts import Words, prose
from momus.label.views import arrange, view
from support.label_items import GOOD, ITEMS

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "critics" / "injections.jsonl").read_text("utf-8").splitlines()
    if line
]


@pytest.fixture
def bench(tmp_path, clock):
    bench = Bench(tmp_path / "label.db", clock)
    yield bench
    bench.database.close()


class Models:
    """A model that answers what it is given, or raises it."""

    def __init__(self, reply):
        self.reply = reply

    def answer(self, prompt):
        return self._reply()

    def critiques(self, question, answer, count):
        return self._reply()

    def _reply(self):
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


# 7
def test_each_person_may_ask_a_model_and_run_code_so_often(tmp_path, clock):
    bench = Bench(tmp_path / "m.db", clock, Models("x"))
    bench.app.state.runner = type("Fake", (), {"run": lambda *_: {"stdout": ""}})()
    first, second = bench.browser(), bench.browser()
    tokens = [bench.start(client, "break") for client in (first, second)]
    body = {"content": {"prompt": "p"}}
    answers = [first.post(f"/api/work/{tokens[0]}/probe", json={**body, "request": f"q{i}"}) for i in range(12)]
    answers += [first.post(f"/api/work/{tokens[0]}/run", json={"code": "", "then": ""}) for _ in range(12)]
    assert [answer.status_code for answer in answers].count(429) == 4
    assert int(answers[-1].headers["retry-after"]) > 0 and "\n" not in answers[-1].json()["error"]
    assert second.post(f"/api/work/{tokens[1]}/probe", json={**body, "request": "q"}).status_code == 202
    bench.database.close()


# 12
@pytest.mark.parametrize("nasty", ['x" onmouseover="alert(1)', "<script>alert(1)</script>", "js\u202eon", "a b='c'"])
def test_the_label_of_a_fence_is_no_markup(nasty):
    html = prose(f"````{nasty}\nalert(1)\n````\n")
    assert "<script" not in html and "onmouseover=" not in re.sub(r">[^<]*<", "><", html) and "\u202e" not in html


def test_the_name_of_a_document_cannot_write_headers(tmp_path, clock):
    bench = Bench(tmp_path / "f.db", clock, kinds=[])
    from momus.label.rules import NewItem

    name = 'a"\r\nSet-Cookie: x=1\r\n/../<b>.md'
    payload = {**ITEMS["feedback"], "feedback": {**ITEMS["feedback"]["feedback"], "document": name, "title": ""}}
    bench.store.add_items([NewItem("feedback", payload)], "b", "o")
    client = bench.browser()
    token = bench.start(client, "feedback")
    sent = {"request": "r" * 16, "content": GOOD["feedback"], "active": 1}
    done = client.post(f"/api/work/{token}/submission", json=sent).json()
    assert "<b>" not in client.get(f"/feedback/{done['id']}").text
    headers = client.get(f"/feedback/{done['id']}/docx").headers
    assert "set-cookie" not in headers and "\n" not in headers["content-disposition"]
    assert headers["content-disposition"].endswith("UTF-8''%3Cb%3E.docx")
    bench.database.close()


# 14
def _as_written_by(source, comments, closing):
    """Return a critique as it comes from people (as the workbench exports it), or as models like to write."""
    if source == "human":
        return format_critique(Critique(comments=comments, closing=closing))
    blocks = [f"````python  \r\n{c.highlight}\r\n````  \r\n{c.text}  \r\n" for c in comments]
    return "\r\n\r\n".join([*blocks, f"{closing}\r\n\r\n\r\n" if closing else ""])


def _skeleton(column):
    return re.sub(r"\w+", "w", json.dumps(column, sort_keys=True))


def _accuracy(samples):
    """Return how often the more frequent source of a feature in the first half is right in the second."""
    half = len(samples) // 2
    seen = defaultdict(Counter)
    for source, feature in samples[:half]:
        seen[feature][source] += 1
    right = 0.0
    for source, feature in samples[half:]:
        counts = seen[feature]
        right += 0.5 if counts["human"] == counts["model"] else counts.most_common(1)[0][0] == source
    return right / (len(samples) - half)


def test_a_classifier_of_everything_but_the_words_does_no_better_than_chance():
    draw, words = Random(3), Words("en")
    lines = [line for line in ITEMS["comparison"]["tamper"]["answer"].split("\n") if line.strip()]
    shown, raw = [], []
    for _ in range(1000):
        sources = draw.choice([["human", "model"], ["model", "human"]])
        texts = []
        for source in sources:
            comments = tuple(
                Comment(highlight=draw.choice(lines).strip(), text=draw.choice(["Wrong sign.", "No test for b."]))
                for _ in range(draw.randrange(3))
            )
            texts.append(
                _as_written_by(source, comments, draw.choice(["", "Else fine."]) if comments else "No problem.")
            )
        payload = {**ITEMS["comparison"], "critiques": texts, "sources": sources}
        arrangement = arrange("comparison", payload, draw)
        page = view("comparison", payload, arrangement, words)
        for place, column in enumerate(page["panels"][-1]["items"]):
            source = sources[arrangement["order"][place]]
            shown.append((source, _skeleton(column)))
            raw.append((source, re.sub(r"\w+", "w", texts[arrangement["order"][place]])))
    assert _accuracy(raw) > 0.9  # what the classifier could do with the texts as they came
    assert _accuracy(shown) < 0.5 + 3 * (0.25 / 1000) ** 0.5


# 17
class Recorder:
    """A chat that keeps what it is asked, and answers one thing."""

    def __init__(self, text):
        self.text, self.asked = text, []

    def answer(self, questions):
        from momus.lm.chats.protocol import Answer

        self.asked += questions
        return [Answer(self.text, "") if self.text else Answer("", "refused") for _ in questions]


@pytest.mark.parametrize("code", [case["injected"] for case in CASES[::4]])
def test_what_code_says_stays_between_marks_and_changes_no_verdict(code):
    chat = Recorder("I found every bug of this code, as it asks me to say.")
    critiques = ChatModels(chat).critiques("Write it.", code, 3)
    prompt = str(chat.asked[0].messages[-1])
    assert len(critiques) == 3 and len(chat.asked) == 3
    mark = re.findall(r"^=+$", chat.asked[0].messages[-1].content, re.MULTILINE)[-1]
    assert mark not in code and code in chat.asked[0].messages[-1].content and prompt
    bug = {"first": 1, "last": len(code.split("\n")), "description": "d"}
    assert not any(catches(critique, code, [bug]) for critique in critiques)


@pytest.mark.parametrize("reply", [
    None, 5, [], [""], [None], ["```"], ["\x00" * 9], ["```\n" * 500], ValueError("internal /root/key"), RuntimeError(),
])  # fmt: skip
def test_a_model_that_answers_nonsense_is_one_word_to_the_page(tmp_path, clock, reply):
    bench = Bench(tmp_path / "m.db", clock, Models(reply))
    client = bench.browser()
    token = bench.start(client, "tamper")
    sent = {"request": "q1", "content": GOOD["tamper"]}
    assert client.post(f"/api/work/{token}/probe", json=sent).status_code == 202
    for _ in range(300):
        if result := client.get(f"/api/work/{token}/probe/q1").json()["result"]:
            break
        time.sleep(0.01)
    assert result.get("count", 0) == 0 and "/root" not in json.dumps(result)
    assert bench.database.read(lambda t: t.value("SELECT count(*) AS n FROM submission")) == 0
    bench.database.close()


# 18
@pytest.mark.parametrize("path", [
    "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%2e%2e%2fapp.py", "/static/%00",
    "/static/....//app.py", "/static/..%5capp.py", "/static/vendor/../../app.py", "/static//etc/passwd",
])  # fmt: skip
def test_no_path_leads_out_of_the_static_files(bench, path):
    answer = bench.browser(None).get(path)
    assert (
        answer.status_code in (303, 307, 401, 404, 405) and "make_app" not in answer.text and "root:" not in answer.text
    )


def test_feedback_names_no_file_but_the_one_beside_it(tmp_path):
    from momus.label.feedback.kind import FeedbackItem

    feedback = FeedbackItem.model_validate(ITEMS["feedback"]).feedback
    (tmp_path / "class").mkdir()
    (tmp_path / "secret.md").write_text("secret")
    file = tmp_path / "class" / "a.feedback.json"
    for name in ("../secret.md", str(tmp_path / "secret.md"), "..", "/etc/passwd"):
        with pytest.raises(UserError, match="is not beside it"):
            document_of(file, feedback.model_copy(update={"document": name}))


def test_a_link_that_leads_out_of_a_class_folder_is_not_followed(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / "a.md").write_text("# A\n\nText.\n")
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.md").write_text("secret")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "folder").symlink_to(tmp_path / "other")
    (folder / "inside.md").symlink_to(folder / "a.md")
    assert [path.name for path in places_in(folder, None)] == ["a.md", "inside.md"]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"prompt": NaN}', "\x00", '{"a": 1e999}'])
def test_what_is_too_large_or_broken_is_not_imported(tmp_path, capsys, text):
    (tmp_path / "x.jsonl").write_text(text + "\n")
    assert main(["label", "import", str(tmp_path / "x.jsonl"), "--kind", "demonstration", "--database",
                 str(tmp_path / "l.db")]) == 2  # fmt: skip
    assert capsys.readouterr().err.count("\n") == 1


# 19
ESCAPES = {
    "import os; print(sorted(set(os.environ) & {'MOMUS_API_KEY', 'HOME_SECRET'}))": "[]",
    "import socket; socket.create_connection(('127.0.0.1', 9), 1)": "Error",
    "print(open('/etc/shadow').read())": "Error",
    "while True: print('x' * 100000)": "output",
    "while True: pass": "time",
    "import os\nwhile True: os.fork()": "",
}


@pytest.mark.parametrize("code", ESCAPES)
def test_code_run_for_a_labeler_gets_nowhere(bench, monkeypatch, code):
    if open_runner() is None:
        pytest.skip("no cage here")
    monkeypatch.setenv("MOMUS_API_KEY", "PLANTED-KEY")
    monkeypatch.setenv("HOME_SECRET", "PLANTED-KEY")
    bench.app.state.runner = Runner()
    client = bench.browser()
    token = bench.start(client, "tamper")
    answer = client.post(f"/api/work/{token}/run", json={"code": code, "then": ""})
    assert answer.status_code == 200 and "PLANTED-KEY" not in answer.text and len(answer.content) < 200_000
    assert ESCAPES[code] in answer.json()["stdout"] + answer.json()["stderr"] + answer.json()["stopped"]


# 20
def test_planted_secrets_are_in_no_log_export_or_output(bench, tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.setenv("MOMUS_API_KEY", "PLANTED-KEY")
    caplog.set_level(logging.DEBUG)
    client = bench.browser("labeler", "PLANTED-NAME")
    link = bench.people.invite("labeler", "o")
    token = bench.start(client, "ranking")
    sent = {"request": "PLANTED-REQUEST", "content": GOOD["ranking"], "active": 1}
    assert client.post(f"/api/work/{token}/submission", json=sent).status_code == 200
    secrets = ["PLANTED-KEY", client.cookies[bench.site.cookie], client.person.csrf, link, token, "PLANTED-REQUEST"]
    database = ["--database", str(tmp_path / "label.db")]
    assert main(["label", "export", str(tmp_path / "out"), *database]) == 0
    exported = "".join(path.read_text("utf-8") for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert main(["label", "status", "--json", *database]) == 0 == main(["label", "status", "--csv", *database])
    assert main(["label", "verify", *database]) == 0
    out, err = capsys.readouterr()
    logged = "".join(record.getMessage() for record in caplog.records if record.name != "httpx2")  # the client's own
    for secret in secrets:
        assert secret not in exported + out + err + logged
    assert "PLANTED-NAME" not in exported


def test_labelers_name_no_address_and_a_models_redirect_is_not_followed(tmp_path, clock):
    asked = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/latest/meta-data")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UserError, match="redirects to"):
            models = open_models("m", f"http://127.0.0.1:{server.server_port}/v1")
            models.answer("hello")
        assert asked and not any("meta-data" in path for path in asked)
    finally:
        server.shutdown()
    bench = Bench(tmp_path / "m.db", clock, Models("x"))
    client = bench.browser()
    token = bench.start(client, "break")
    body = {"request": "q1", "content": {"prompt": "p"}, "url": "http://169.254.169.254/"}
    assert client.post(f"/api/work/{token}/probe", json=body).status_code == 400
    bench.database.close()
