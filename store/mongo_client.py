"""The connection to MongoDB: how it is opened, how long it may take, and what its errors mean.

Only files called `mongo*.py` know the driver. Reads go through Motor; what must go on when its caller
hangs up (commits) or reads all there is (snapshots) runs in a thread of ours, on the client that Motor
wraps. Why, and until when Motor lasts: `docs/adr/0007`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pymongo
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from store.errors import StoreUnavailable

Found = dict[str, Any]
READ_SECONDS = 5.0  # after which a read that has not ended is given up
WRITE_SECONDS = 60.0  # the same for a write, whose end nobody then knows
_SELECT_MS = 3_000  # how long a primary is waited for
_SOCKET_MS = 60_000  # how long one answer is waited for where nothing shorter is said
_DATABASE = "gatewarden"  # where the URI names none
# Whatever the URI says: what was read is never taken back, and what was written is on a majority's disks.
_CONCERNS: dict[str, Any] = {
    "read_preference": ReadPreference.PRIMARY,
    "read_concern": ReadConcern("majority"),
    "write_concern": WriteConcern("majority", j=True),
}
_REFUSED = {13: "does not permit what the gateway needs", 18: "refuses the user or the password"}


@contextlib.contextmanager
def driver(seconds: float | None, client: MongoClient[Found] | None = None) -> Iterator[None]:
    """What is done inside has `seconds`; None: as long as every single answer comes.

    With a `client` it has less if no primary is known: one that is away is not waited for that long.

    Raises:
        StoreUnavailable: the driver failed, whatever way; whether a write was done is not known.
    """
    if seconds is not None and client is not None and client.primary is None:
        seconds = min(seconds, _SELECT_MS / 1000)
    try:
        with pymongo.timeout(seconds) if seconds is not None else contextlib.nullcontext():
            yield
    except OperationFailure as error:
        said = _REFUSED.get(error.code or 0, "does not answer as it should")
        raise StoreUnavailable(f"the store {said}") from error
    except (PyMongoError, BSONError) as error:
        raise StoreUnavailable("the store does not answer") from error


class Connection:
    """A client, and the installation's database on it: for the loop (`motor`) and for threads (`db`)."""

    __slots__ = ("_client", "db", "motor")

    def __init__(self, client: AsyncIOMotorClient[Found]) -> None:
        self._client = client
        named = client.delegate.get_default_database(_DATABASE).name
        self.motor: AsyncIOMotorDatabase[Found] = client.get_database(named, **_CONCERNS)
        self.db: Database[Found] = client.delegate.get_database(named, **_CONCERNS)

    @property
    def client(self) -> MongoClient[Found]:
        client: MongoClient[Found] = self._client.delegate
        return client

    @contextlib.asynccontextmanager
    async def asking(self, seconds: float = READ_SECONDS) -> AsyncIterator[None]:
        """`driver` for the loop, where a queue before the driver's threads counts as well."""
        try:
            async with asyncio.timeout(seconds + 1):
                with driver(seconds, self.client):
                    yield
        except TimeoutError as error:
            raise StoreUnavailable("the store does not answer in time") from error

    def close(self) -> None:
        self._client.close()


def connect(uri: str, loop: asyncio.AbstractEventLoop) -> Connection:
    """A connection to a replica set. Blocking. The URI is never repeated: it holds a password.

    Raises:
        StoreUnavailable: the URI is wrong, nobody answers, or it is no replica set.
    """
    try:
        client: AsyncIOMotorClient[Found] = AsyncIOMotorClient(
            uri,
            io_loop=loop,
            appname="gatewarden",
            serverSelectionTimeoutMS=_SELECT_MS,
            connectTimeoutMS=_SELECT_MS,
            socketTimeoutMS=_SOCKET_MS,
            retryWrites=True,
            retryReads=True,
        )
        made = Connection(client)
    except (PyMongoError, ValueError, TypeError):
        raise StoreUnavailable(
            "the URI of the store cannot be used",
            hint="mongodb://user:password@host:27017/gatewarden?replicaSet=rs0; "
            "percent-encode what is special in user and password",
        ) from None
    try:
        with driver(None):  # by the limits of the client
            said = made.client.admin.command("hello")
        if "setName" not in said and said.get("msg") != "isdbgrid":
            raise StoreUnavailable(
                "the MongoDB server is not a member of a replica set",
                hint="start mongod with --replSet and run rs.initiate() once; one member is enough",
            )
    except BaseException:
        made.close()
        raise
    return made
