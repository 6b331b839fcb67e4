"""The compose file of examples/workbench starts what this Momus understands, and only the proxy is open to others."""

import re
from pathlib import Path

import pytest

from momus.cli import parse
from momus.label.serve import ServeConfig, site_of

FOLDER = Path(__file__).parents[2] / "examples" / "workbench"
VARIABLES = {"DOMAIN": "label.example.org", "POSTGRES_PASSWORD": "secret"}


@pytest.fixture
def services():
    yaml = pytest.importorskip("yaml")
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: VARIABLES[match[1]], text)
    return yaml.safe_load(text)["services"]


def test_the_workbench_is_started_by_a_command_that_there_is(services):
    program, *arguments = services["workbench"]["command"]
    assert program == "momus" and callable(parse(arguments))
    assert "secret" not in " ".join(arguments)
    values = dict(zip(arguments[2::2], arguments[3::2], strict=True))
    site = site_of(ServeConfig(values["--database"], values["--host"], public_url=values["--public-url"]))
    assert site.secure and site.proxied and site.origins == ("https://label.example.org",)
    assert values["--database"] == "postgresql://momus@db/momus"
    assert services["workbench"]["environment"]["PGPASSWORD"] == services["db"]["environment"]["POSTGRES_PASSWORD"]


def test_only_the_proxy_is_open_to_others(services):
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    upstream = re.search(r"reverse_proxy (\w+):(\d+)", (FOLDER / "Caddyfile").read_text(encoding="utf-8"))
    assert upstream.groups() == ("workbench", str(ServeConfig("x").port))
