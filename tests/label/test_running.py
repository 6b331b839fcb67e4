"""The run button's way through the server: who may run what, and what comes back."""

import pytest

from label.test_app import Bench, task_of
from momus.errors import UserError
from momus.label import running
from momus.label.running import Runner, open_runner


@pytest.fixture
def bench(tmp_path, clock):
    bench = Bench(tmp_path / "label.db", clock)
    bench.app.state.runner = Runner()
    yield bench
    bench.database.close()


def test_code_is_run_and_answered(bench):
    if open_runner() is None:
        pytest.skip("no cage here")
    client = bench.browser()
    token = bench.start(client, "tamper")
    assert task_of(client.get(f"/work/{token}"))["run"] is True
    code = {"code": "def f(x):\n    return x + 1", "then": "print(f(1)); raise SystemExit(3)"}
    answer = client.post(f"/api/work/{token}/run", json=code).json()
    assert (answer["stdout"], answer["stderr"], answer["exit"], answer["stopped"]) == ("2\n", "", 3, "")


def test_there_is_nothing_to_run_with_where_there_is_no_cage(bench):
    bench.app.state.runner = None
    client = bench.browser()
    token = bench.start(client, "tamper")
    assert task_of(client.get(f"/work/{token}"))["run"] is False
    assert client.post(f"/api/work/{token}/run", json={"code": "", "then": ""}).status_code == 404


@pytest.mark.parametrize("body", [{"code": "x"}, {"code": 1, "then": ""}, {"code": "", "then": "", "limits": {}}])
def test_a_wrong_request_runs_nothing(bench, monkeypatch, body):
    monkeypatch.setattr(running, "run_python", lambda *a, **b: pytest.fail("run"))
    client = bench.browser()
    token = bench.start(client, "tamper")
    assert client.post(f"/api/work/{token}/run", json=body).status_code == 400


def test_only_who_has_the_task_runs_code(bench, monkeypatch):
    monkeypatch.setattr(running, "run_python", lambda *a, **b: pytest.fail("run"))
    mine, other = bench.browser(), bench.browser()
    token = bench.start(mine, "tamper")
    body = {"code": "", "then": ""}
    assert other.post(f"/api/work/{token}/run", json=body).status_code == 404
    assert mine.post(f"/api/work/{token}/run", json=body, headers={"x-csrf-token": "no"}).status_code == 403


def test_what_is_too_long_is_refused():
    with pytest.raises(UserError, match="too long"):
        Runner().run("x" * 200_001, "")


def test_no_runner_where_the_cage_does_not_hold(monkeypatch):
    monkeypatch.setattr(running, "is_caged", lambda: False)
    assert open_runner() is None
