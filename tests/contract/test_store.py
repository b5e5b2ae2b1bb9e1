"""What every store must keep to (`store.port.Store`). A new store is one more name in `STORES`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.change import Person
from store.errors import HeadMoved, StoreUnavailable
from store.mongo import MongoStore
from store.port import Batch, Head, RawDocument, RawEntry, RawSecret, Store
from store.sqlite import SqliteStore

Opener = Callable[[], Store]
STORES = ("sqlite", "mongo")


@pytest.fixture(params=STORES)
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the same store again and again, as several processes would."""
    opened: list[Store] = []
    uri = request.getfixturevalue("mongo_uri") if request.param == "mongo" else ""

    def open_one() -> Store:
        opened.append(MongoStore(uri) if uri else SqliteStore(tmp_path / "s.db"))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(opener: Opener) -> Store:
    made = opener()
    await made.open()
    return made


def batch(epoch: int, **fields: Any) -> Batch:
    raw = RawEntry(epoch, f"hash{epoch}", f'{{"epoch":{epoch}}}'.encode())
    return Batch(raw, digest=f"{epoch:064x}", **fields)


def head(epoch: int) -> Head:
    return Head(epoch, f"hash{epoch}", f"{epoch:064x}") if epoch else Head()


def document(family: str, name: str, version: int = 1, **fields: Any) -> RawDocument:
    given = {"source": "manual", "epoch": 1, "body": b"{}", **fields}
    return RawDocument(family, name, version, **given)


async def rows_of(store: Store) -> set[str]:
    async with store.snapshot() as snapshot:
        return await snapshot.rows(set)


async def test_an_empty_store_has_an_empty_head(store: Store) -> None:
    assert await store.head() == Head()
    assert await store.entries(0, 10) == []
    assert await rows_of(store) == set()


async def test_entries_come_in_order_after_an_epoch(store: Store) -> None:
    await store.commit(head(0), [batch(1)])
    await store.commit(head(1), [batch(2), batch(3)])
    assert await store.head() == head(3)
    assert [e.epoch for e in await store.entries(0, 2)] == [1, 2]
    assert [e.epoch for e in await store.entries(2, 9)] == [3]
    assert (await store.entries(0, 1))[0].body == b'{"epoch":1}'


async def test_only_one_of_two_follows_a_head(opener: Opener) -> None:
    one, two = opener(), opener()
    await asyncio.gather(one.open(), two.open())
    results = await asyncio.gather(
        one.commit(head(0), [batch(1)]), two.commit(head(0), [batch(1)]), return_exceptions=True
    )
    assert [type(r) for r in results if r is not None] == [HeadMoved]
    with pytest.raises(HeadMoved):
        await two.commit(replace(head(1), hash="other"), [batch(2)])


async def test_a_commit_is_whole_or_not_there(store: Store) -> None:
    wrong = batch(1, documents=(document("team", "s"),))
    with pytest.raises(StoreUnavailable):
        await store.commit(head(0), [wrong, replace(batch(2), entry=wrong.entry)])
    assert await store.head() == Head()
    assert await store.documents([("team", "s")]) == []


async def test_others_commits_are_noticed(opener: Opener) -> None:
    one, two = opener(), opener()
    await asyncio.gather(one.open(), two.open())
    await one.changed()
    await two.commit(head(0), [batch(1)])
    assert await one.changed()
    assert [e.epoch for e in await one.entries(0, 9)] == [1]


async def test_rows_are_those_of_now_and_may_come_back(store: Store) -> None:
    await store.commit(head(0), [batch(1, rows_added=("a", "b", "A", "ä"))])
    await store.commit(head(1), [batch(2, rows_removed=("a",), rows_added=("c",))])
    assert await rows_of(store) == {"b", "A", "ä", "c"}
    await store.commit(head(2), [batch(3, rows_added=("a",)), batch(4, rows_removed=("b",))])
    assert await rows_of(store) == {"a", "A", "ä", "c"}
    await store.rematerialise(4, ["x", "a"])
    assert await rows_of(store) == {"x", "a"}


async def test_rows_of_the_past_and_where_they_come_from(store: Store) -> None:
    await store.commit(head(0), [batch(1, rows_added=("a", "b"))])
    await store.commit(head(1), [batch(2, rows_removed=("a",), rows_added=("c",))])
    await store.commit(head(2), [batch(3, rows_added=("a",)), batch(4, rows_removed=("b",))])
    assert [await store.rows_at(n, set) for n in range(5)] == [
        set(),
        {"a", "b"},
        {"b", "c"},
        {"a", "b", "c"},
        {"a", "c"},
    ]
    assert await store.origins(["a", "b", "nothing"], 1) == {"a": 1, "b": 1}
    assert await store.origins(["a", "b"], 2) == {"b": 1}
    assert await store.origins(["a", "b", "c"], 4) == {"a": 3, "c": 2}


async def test_the_hash_of_an_epoch_is_known(store: Store) -> None:
    await store.commit(head(0), [batch(1)])
    await store.commit(head(1), [batch(2), batch(3)])
    assert [await store.hash_at(n) for n in range(5)] == [None, "hash1", "hash2", "hash3", None]


async def test_a_snapshot_stays_as_it_was(store: Store) -> None:
    await store.commit(head(0), [batch(1, rows_added=("a",), documents=(document("team", "s"),))])
    async with store.snapshot() as snapshot:
        await store.commit(head(1), [batch(2, rows_added=("b",), deleted=(("team", "s"),))])
        assert snapshot.head == head(1)
        assert await snapshot.rows(set) == {"a"}
        assert [d.key for d in await snapshot.documents()] == [("team", "s")]
    async with store.snapshot() as snapshot:
        assert await snapshot.documents() == []
        assert await snapshot.ended() == [("team", "s")]


async def test_documents_are_found_by_key_and_paged_by_name(store: Store) -> None:
    many = tuple(document("team", f"t{n:04}") for n in range(1000))
    upper = document("team", "T0001", body=b"upper")
    await store.commit(head(0), [batch(1, documents=(*many, upper, document("user", "u-1")))])
    keys = [d.key for d in many]
    assert sorted(d.key for d in await store.documents(keys)) == keys
    assert [d.body for d in await store.documents([("team", "T0001")])] == [b"upper"]
    assert [d.name for d in await store.page("team", "t0997", 10)] == ["t0998", "t0999"]
    assert len(await store.page("team", "", 7)) == 7
    newer = document("team", "t0000", 2, body=b"newer", fact='{"x":1}')
    await store.commit(head(1), [batch(2, documents=(newer,))])
    assert await store.documents([("team", "t0000")]) == [newer]


async def test_facts_are_of_all_but_plain_users_and_credentials(store: Store) -> None:
    documents = (
        document("team", "s"),
        document("role", "r", fact="{}"),
        document("user", "u-1"),
        document("user", "u-2", fact="{}"),
        document("credential", "c"),
    )
    await store.commit(head(0), [batch(1, documents=documents)])
    async with store.snapshot() as snapshot:
        assert sorted(await snapshot.facts()) == [
            (("role", "r"), "{}"),
            (("team", "s"), None),
            (("user", "u-2"), "{}"),
        ]
        assert [d.key for d in await snapshot.documents(["role"])] == [("role", "r")]


async def test_mentions_and_assertions_come_and_go(store: Store) -> None:
    one, two = ("team", "s"), ("policy", "p")
    await store.commit(
        head(0), [batch(1, mentioned=(("t", one), ("t", two)), asserted=(("r", one),))]
    )
    assert sorted(await store.dependents(["t", "nothing"])) == [("t", two), ("t", one)]
    assert await store.assertions(["r"]) == [("r", one)]
    await store.commit(head(1), [batch(2, unmentioned=(("t", one),), unasserted=(("r", one),))])
    assert await store.dependents(["t"]) == [("t", two)]
    assert await store.assertions(["r"]) == []


async def test_an_address_is_one_persons_until_he_leaves(store: Store) -> None:
    ann, bob = Person("u-1", "Ann@acme.com", "Ann"), Person("u-2", "bob@acme.com")
    await store.commit(head(0), [batch(1, people=(ann, bob))])
    assert await store.people_by_email(["ann@acme.com"]) == [ann]
    with pytest.raises(StoreUnavailable):
        await store.commit(head(1), [batch(2, people=(Person("u-3", "ANN@acme.com"),))])
    # Two may swap theirs in one change.
    swapped = (replace(ann, email=bob.email), replace(bob, email=ann.email))
    await store.commit(head(1), [batch(2, people=swapped)])
    assert [p.id for p in await store.people_by_email(["ann@acme.com"])] == ["u-2"]
    await store.commit(head(2), [batch(3, left=("u-2",), people=(Person("u-3", "ann@acme.com"),))])
    assert [p.id for p in await store.people_by_email(["ann@acme.com"])] == ["u-3"]
    assert [p.id for p in await store.people(["u-2"])] == ["u-2"]  # still known to the auditor
    assert await store.erase_person("u-2")
    assert await store.people(["u-2"]) == []
    assert not await store.erase_person("u-2")


async def test_secrets_are_kept_until_they_end(store: Store) -> None:
    secret = RawSecret("id", "provider-account", "acme", "auth_data.api_key", b"\x00sealed")
    await store.commit(head(0), [batch(1, secrets=(secret,))])
    assert await store.secret("id") == secret
    await store.commit(head(1), [batch(2, secrets_ended=("id",))])
    assert await store.secret("id") is None


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.head()
    with pytest.raises(StoreUnavailable):
        await store.commit(head(0), [batch(1)])
