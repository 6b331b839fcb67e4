"""Both databases for every test of the store; PostgreSQL only where its server is installed."""

import pytest

from momus.label.people import People
from momus.label.schema import migrate, open_database
from momus.label.store import Store
from support.databases import postgres_programs, postgresql_server


@pytest.fixture(scope="session")
def make_postgresql():
    if postgres_programs() is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt install postgresql)")
    with postgresql_server() as make:
        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "label.db")
    return request.getfixturevalue("make_postgresql")()


class Clock:
    """A database's clock that stands still unless it is moved."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(address, clock):
    database = open_database(address, clock)
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def store(database):
    return Store(database)


@pytest.fixture
def people(database):
    return People(database)


@pytest.fixture
def labeler(people):
    """Make labelers by name; returns their ids."""

    def make(name="kim", role="labeler"):
        return people.person(people.join(people.invite(role, "owner"), name, "en")).id

    return make
