"""Checkpoints in a second place: what arrives there proves a log that was cut, and a failure stalls nothing."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from proxy.checkpoint_copies import (
    MOST_WAITING,
    PAUSES,
    Bucket,
    CheckpointCopies,
    CopyFailed,
    FarPlace,
    S3Place,
    WebhookPlace,
)
from proxy.providers.base import AwsKeys
from proxy.providers.sigv4 import sign
from store.segments import segments
from store.verify import verify
from store.writer import Limits
from tests.peers.estate import client
from tests.store.journal_kit import PUBLIC, decision, open_journal

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
KEYS = AwsKeys("AKIACANARY", "secret/canary+key")


class Storage:
    """Storage that checks the signature of each object by itself, and keeps it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fails = 0
        self.order: list[str] = []

    async def put(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if self.fails:
            self.fails -= 1
            return web.Response(status=503)
        if request.method == "PUT" and not self._signed(request, raw):
            return web.Response(status=403)
        name = (
            request.path.lstrip("/")
            if request.method == "PUT"
            else request.headers["x-gatewarden-writer"] + "/" + request.headers["x-gatewarden-seq"]
        )
        self.objects[name] = raw
        self.order.append(name)
        return web.Response()

    def _signed(self, request: web.Request, raw: bytes) -> bool:
        """Signature version 4 as storage checks it: the path is escaped once."""
        head = request.headers["authorization"]
        parts = dict(part.strip().split("=", 1) for part in head.split(" ", 1)[1].split(","))
        names = parts["SignedHeaders"].split(";")
        digest = hashlib.sha256(raw).hexdigest()
        if request.headers["x-amz-content-sha256"] != digest:
            return False
        canonical = "\n".join(
            [
                request.method,
                quote(request.path, safe="/-_.~"),
                "",
                *(f"{name}:{request.headers[name].strip()}" for name in names),
                "",
                ";".join(names),
                digest,
            ]
        )
        key_id, scope = parts["Credential"].split("/", 1)
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256",
                request.headers["x-amz-date"],
                scope,
                hashlib.sha256(canonical.encode()).hexdigest(),
            ]
        )
        key = f"AWS4{KEYS.secret_access_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        made = hmac.digest(key, text.encode(), "sha256").hex()
        return key_id == KEYS.access_key_id and made == parts["Signature"]


@asynccontextmanager
async def storing() -> AsyncIterator[tuple[Storage, str]]:
    storage = Storage()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", storage.put)
    async with TestServer(app, host="127.0.0.1") as server:
        yield storage, str(server.make_url(""))


async def a_log(folder: Path, count: int = 40) -> Path:
    journal = open_journal(
        folder / "journal", limits=Limits(segment_bytes=4500, checkpoint_records=8)
    )
    for n in range(count):
        await journal.append(decision(number=n)).durable()
    await journal.close()
    return journal.folder


def copying(folder: Path, place: FarPlace, alarms: list[str]) -> CheckpointCopies:
    return CheckpointCopies(folder / "journal", folder / "marks.json", place, alarms.append)


def second_place(folder: Path, storage: Storage) -> Path:
    """What somebody who fetched the objects lays down for `log verify --second`."""
    place = folder / "second"
    place.mkdir(exist_ok=True)
    for n, raw in enumerate(storage.objects.values()):
        (place / f"{n}.checkpoints.jsonl").write_bytes(raw)
    return place


@pytest.mark.parametrize("kind", ["s3", "webhook"])
async def test_a_log_that_was_cut_with_its_copies_is_found_by_what_was_put_away(
    tmp_path: Path, kind: str
) -> None:
    folder = await a_log(tmp_path)
    alarms: list[str] = []
    async with storing() as (storage, url), client() as outbound:
        place: FarPlace = WebhookPlace(outbound.fetch, f"{url}/hook", authorization="Bearer x")
        if kind == "s3":
            bucket = Bucket(f"{url}/bucket/logs", "eu-north-1", KEYS)
            place = S3Place(outbound.fetch, bucket, lambda: NOON)
        copies = copying(tmp_path, place, alarms)
        await copies.step()
        assert copies.copied == len(storage.objects) > 4 and not alarms
        await copies.step()
        assert copies.copied == len(storage.order)  # each once
        copies.close()
    if kind == "s3":
        assert all(name.startswith("bucket/logs/gatewarden/localhost/0/") for name in storage.order)
    assert storage.order == sorted(
        storage.order, key=lambda n: int("".join(filter(str.isdigit, n.rpartition("/")[2])))
    )
    second = second_place(tmp_path, storage)
    assert verify(tmp_path / "journal", PUBLIC, second=second).ok
    for segment in segments(folder)[2:]:
        segment.path.unlink()
    (folder / "checkpoints.jsonl").unlink()
    report = verify(tmp_path / "journal", PUBLIC, second=second)
    assert any("the chain ends at record" in fault.message for fault in report.faults)


async def test_a_failure_raises_one_alarm_and_what_waited_goes_later(tmp_path: Path) -> None:
    await a_log(tmp_path)
    alarms: list[str] = []
    async with storing() as (storage, url), client() as outbound:
        copies = copying(tmp_path, WebhookPlace(outbound.fetch, url), alarms)
        storage.fails = 3
        assert [await copies.step() for _ in range(3)] == list(PAUSES[:3])
        assert len(alarms) == 1 and copies.failures == 3 and not storage.objects
        await copies.step()
        assert copies.failures == 0 and len(storage.objects) == copies.copied > 4
        copies.close()
        again = copying(tmp_path, WebhookPlace(outbound.fetch, url), alarms)
        await again.step()
        assert again.copied == 0  # a process that starts anew knows what is there
        again.close()


async def test_only_the_newest_few_of_a_long_wait_go_and_only_one_process_copies(
    tmp_path: Path,
) -> None:
    await a_log(tmp_path, 8 * (MOST_WAITING + 20))
    async with storing() as (storage, url), client() as outbound:
        copies = copying(tmp_path, WebhookPlace(outbound.fetch, url), [])
        other = copying(tmp_path, WebhookPlace(outbound.fetch, url), [])
        await copies.step()
        await other.step()
        assert len(storage.objects) == MOST_WAITING == copies.copied and other.copied == 0
        copies.close()
        other.close()


async def test_an_error_and_a_repr_hold_no_secret(tmp_path: Path) -> None:
    bucket = Bucket("http://127.0.0.1:9", "r", KEYS)
    async with client() as outbound:
        with pytest.raises(CopyFailed) as caught:
            await S3Place(outbound.fetch, bucket, lambda: NOON).put("a@b@0", 1, b"x")
    assert "canary" not in f"{caught.value!r}{caught.value}{bucket!r}".replace("AKIACANARY", "")


def test_a_signature_for_storage_is_the_published_one() -> None:
    """The example "GET Bucket Lifecycle" of the Amazon S3 API reference."""
    url = URL("https://examplebucket.s3.amazonaws.com/?lifecycle")
    made = sign(
        "GET",
        url,
        [("x-amz-content-sha256", hashlib.sha256(b"").hexdigest())],
        b"",
        keys=AwsKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        region="us-east-1",
        service="s3",
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert dict(made)["authorization"].endswith(
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )
