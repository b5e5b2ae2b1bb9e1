"""What tests of several folders share: tables of characters, and a MongoDB server of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import find, settings
from hypothesis import strategies as st

from tests.peers import mongod


@pytest.hookimpl(trylast=True)  # Hypothesis wants to be started itself
def pytest_sessionstart() -> None:
    """Has Hypothesis make its tables of characters before any test waits for them.

    In a fresh checkout that takes seconds, which the first test of texts would be blamed for. It keeps them in
    a folder, and the process that starts the workers comes here before them.
    """
    find(st.text(), lambda _: True, settings=settings(database=None))


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mongod.Shared]:
    """One replica set for all workers of this run."""
    mongod.require()
    base = tmp_path_factory.getbasetemp()
    # A worker's folder lies in the run's.
    folder = base.parent if base.name.startswith("popen-") else base
    shared = mongod.Shared(folder / "mongod")
    yield shared
    shared.leave()


@pytest.fixture
def mongo_uri(mongo_server: mongod.Shared) -> Iterator[str]:
    """The URI of a database that is this test's."""
    uri = mongo_server.database()
    yield uri
    mongo_server.drop(uri)
