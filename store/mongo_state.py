"""`store.state.State` on MongoDB: one collection beside the log.

Nothing relies on the server's own clock or sweep: what is past is past by the `now` that is passed in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from store.mongo import MongoStore
from store.mongo_client import WRITE_SECONDS, Found


class MongoState:
    """`store.state.State` in the collection `state` of a MongoDB store."""

    def __init__(self, store: MongoStore) -> None:
        self._store = store

    @property
    def _kept(self) -> Any:
        return self._store.opened().motor.state

    async def put(self, space: str, key: str, value: bytes, until: datetime) -> None:
        made = _value(space, key, value, until)
        async with self._store.opened().asking(WRITE_SECONDS):
            await self._kept.replace_one({"_id": made["_id"]}, made, upsert=True)

    async def put_new(
        self, space: str, key: str, value: bytes, until: datetime, now: datetime
    ) -> bool:
        made = _value(space, key, value, until)
        past = {"_id": made["_id"], "until": {"$lte": now.timestamp()}}
        async with self._store.opened().asking(WRITE_SECONDS):
            await self._kept.delete_one(past)
            try:
                await self._kept.insert_one(made)
            except DuplicateKeyError:
                return False
        return True

    async def get(self, space: str, key: str, now: datetime) -> bytes | None:
        wanted = {"_id": _id(space, key), "until": {"$gt": now.timestamp()}}
        async with self._store.opened().asking():
            found = await self._kept.find_one(wanted)
        return found["value"] if found is not None else None

    async def all(self, space: str, now: datetime) -> dict[str, bytes]:
        wanted = {"space": space, "until": {"$gt": now.timestamp()}}
        async with self._store.opened().asking():
            found = await self._kept.find(wanted).to_list(None)
        return {one["key"]: one["value"] for one in found}

    async def take_once(self, space: str, key: str, now: datetime) -> bytes | None:
        async with self._store.opened().asking(WRITE_SECONDS):
            found = await self._kept.find_one_and_delete({"_id": _id(space, key)})
        if found is None or found["until"] <= now.timestamp():
            return None
        value: bytes = found["value"]
        return value

    async def drop(self, space: str, key: str) -> bool:
        async with self._store.opened().asking(WRITE_SECONDS):
            done = await self._kept.delete_one({"_id": _id(space, key)})
        return bool(done.deleted_count)

    async def expire(self, now: datetime, limit: int = 1000) -> int:
        past = {"until": {"$lte": now.timestamp()}}
        async with self._store.opened().asking(WRITE_SECONDS):
            found = await self._kept.find(past, {"_id": 1}).limit(limit).to_list(None)
            done = await self._kept.delete_many(
                {"_id": {"$in": [one["_id"] for one in found]}, **past}
            )
        return int(done.deleted_count)


def _id(space: str, key: str) -> Found:
    return {"space": space, "key": key}


def _value(space: str, key: str, value: bytes, until: datetime) -> Found:
    return {
        "_id": _id(space, key),
        "space": space,
        "key": key,
        "value": value,
        "until": until.timestamp(),
    }
