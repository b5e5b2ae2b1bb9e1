"""What tests of several folders share: a MongoDB server of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers import mongod


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
