"""What holds of the case gate on SQLite holds on MongoDB: the same tests, on the other store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from store.changes import ChangeLog
from store.mongo import MongoStore
from tests.store import change_kit, test_case_gate

alarms, log = test_case_gate.alarms, test_case_gate.log

for _name, _test in vars(test_case_gate).items():
    if _name.startswith("test_"):
        globals()[_name] = _test


@pytest.fixture(autouse=True)
def on_mongo(mongo_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(path: Path, *, fault: Callable[[str], None]) -> MongoStore:
        assert path.parent == tmp_path, "one database a test"
        return MongoStore(mongo_uri, fault=fault)

    monkeypatch.setattr(change_kit, "SqliteStore", made)


async def test_the_store_is_the_other_one(log: ChangeLog) -> None:
    assert isinstance(log._store, MongoStore)
