"""What holds of the change log on SQLite holds on MongoDB: the same tests, on the other store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import change_kit
import pytest
import test_changes

from store.mongo import MongoStore

# These tamper with the tables of SQLite, or say what its transaction leaves; `test_mongo.py` has the like.
EMBEDDED = {
    "test_a_commit_that_fails_at_any_step_leaves_nothing",
    "test_rows_that_do_not_match_the_log_are_rebuilt_with_an_alarm",
    "test_a_log_that_was_changed_does_not_start",
    "test_an_entry_that_a_newer_version_wrote_stops_the_feed",
    "test_a_store_of_a_newer_version_does_not_open",
    "test_a_secret_is_sealed_and_opens_only_where_it_belongs",
}

for _name, _test in vars(test_changes).items():
    if _name.startswith("test_") and _name not in EMBEDDED:
        globals()[_name] = _test


@pytest.fixture(autouse=True)
def on_mongo(mongo_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(path: Path, *, fault: Callable[[str], None]) -> MongoStore:
        assert path.parent == tmp_path, "one database a test"
        return MongoStore(mongo_uri, fault=fault)

    monkeypatch.setattr(change_kit, "SqliteStore", made)
