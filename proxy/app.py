"""The composition root: the only place that puts the parts of a process together.

`running` is one process as a context manager. What it finds on the host: `installation.py`; how processes are
started and ended: `serving.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from aiohttp import web

from authz import collector
from conf.settings import MODEL_PATH, Settings
from identity.directory import Directory
from identity.first_admin import FirstAdmin
from identity.first_start import Keys
from identity.kept_tokens import KeptTokens
from identity.oauth.callers import Callers
from identity.pins import Pins
from proxy import doctor, host, logs, shipping
from proxy.api.site import build_api
from proxy.auditing import Auditing
from proxy.catalogue import Catalogue
from proxy.chores import TICK_SECONDS, Chores, Credentials, Upkeep, each
from proxy.erasing import AGAIN_SECONDS, Erasing
from proxy.gateway import Gateway
from proxy.guard import Guard
from proxy.health import Health
from proxy.host import Places
from proxy.inquiry import Inquiries
from proxy.installation import change_log, furnish, own_url, records_place, started
from proxy.logging_rules import LoggingRules
from proxy.mcp.building import McpSettings
from proxy.mcp.building import build as build_mcp
from proxy.mcp.servers import Servers
from proxy.metrics import Metrics
from proxy.oauth.site import tokens_of
from proxy.operations import add_operations
from proxy.outbound import Client
from proxy.outbound import Limits as UpstreamLimits
from proxy.parts import Limits, Parts
from proxy.payloads import PayloadLimits, Payloads
from proxy.record_access import Opened, RecordAccess
from proxy.responses import ResponseState
from proxy.retention import RETENTION_SECONDS, Forgetting, KeepDays
from proxy.runtime import Clock, Runtime
from proxy.secrets import SecretRules, Secrets
from proxy.server import Server
from proxy.workers import offer_snapshot, sibling_snapshots, socket_name
from store.changes import ChangeLog
from store.journal import Journal
from store.journal import Limits as JournalLimits
from store.payload_spool import Spool
from store.replicas import Replicas
from store.sealed import Sealer
from store.skew import Skew

log = logs.get("app")


@dataclass(slots=True)
class Process:
    """A process that serves: where, and with what."""

    port: int
    runtime: Runtime
    gateway: Gateway
    health: Health
    servers: Servers


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        contact=settings.contact,
        body_bytes=limits.body_bytes,
        form_bytes=limits.multipart_bytes,
        body_depth=limits.body_depth,
        body_seconds=limits.request_seconds,
        stream_seconds=settings.upstream.stream_seconds,
        max_stale=settings.policy.max_stale,
        refusals_per_minute=limits.refusals_per_minute,
        trusted_proxies=tuple(ip_network(item) for item in settings.trusted_proxies),
    )


def _mcp(settings: Settings) -> McpSettings:
    hosts = settings.mcp.allowed_hosts
    if (
        not hosts
        and not settings.public_url
        and settings.host not in ("127.0.0.1", "::1", "localhost")
    ):
        hosts = ("*",)  # it listens on addresses whose names nobody told
    return McpSettings(
        own_url(settings), hosts, settings.mcp.allowed_origins, settings.mcp.look_seconds
    )


def _outbound(settings: Settings, secrets: Secrets, clock: Clock) -> Client:
    upstream = settings.upstream
    return Client(
        secrets,
        Guard.of(upstream.allow_private),
        clock.now,
        limits=UpstreamLimits(
            connect=upstream.connect_seconds,
            answer=upstream.answer_seconds,
            idle=upstream.idle_seconds,
            total=upstream.stream_seconds,
            max_answer=upstream.max_answer_bytes,
        ),
    )


def _journal(settings: Settings, keys: Keys, changes: ChangeLog) -> Journal:
    wanted = settings.journal
    return Journal.open(
        Places(settings.data).journal,
        signing_key=keys.signing,
        previous_key=keys.previous,
        mode=wanted.mode.value,
        installation=keys.installation,
        host=os.uname().nodename,
        limits=JournalLimits(
            segment_bytes=wanted.segment_bytes, checkpoint_records=wanted.checkpoint_records
        ),
        checkpoint_seconds=wanted.checkpoint_seconds,
        copy_to=wanted.copy_to,
        change_head=lambda: (changes.head, changes.head_hash),
    )


def _payloads(
    settings: Settings, rules: LoggingRules, sealer: Sealer, journal: Journal, metrics: Metrics
) -> Payloads:
    wanted = settings.payloads
    folder = Places(settings.data).payloads
    return Payloads(
        rules,
        sealer,
        lambda: Spool(folder, journal.writer, wanted.spool_bytes),
        note=journal.note,
        call=asyncio.get_running_loop().call_soon_threadsafe,
        metrics=metrics,
        limits=PayloadLimits(wanted.body_bytes),
    )


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    keys: Keys,
    *,
    clock: Clock | None = None,
    slot: int = 0,
    reuse_port: bool = False,
    ships: bool = True,
    shows: Callable[[str], None] | None = None,
) -> AsyncIterator[Process]:
    """One process, serving until the block ends; then it drains.

    `ships`: it copies records into the record store by itself, as no process beside it does. With `shows` it
    is the first, and does what `bootstrap` does once the folder is `published`; it shows the lines there.

    Raises:
        GatewardenError: it cannot start (store, journal, extensions). OSError: the port is taken.
    """
    doctor.require_extensions()
    clock = clock or Clock()
    metrics = Metrics()
    places = Places(settings.data)

    def alarm(text: str) -> None:
        metrics.count("gatewarden_alarms", "policy")
        log.error("alarm", text=text)

    changes, state = change_log(settings, keys, clock, alarm)
    secrets = Secrets(
        SecretRules.of(settings.upstream.secret_env, settings.upstream.secret_folder),
        environ=os.environ,
        unseal=changes.secret,
    )
    directory, pins = Directory(), Pins()
    logging_rules = LoggingRules(settings.payloads.by_default)
    first = FirstAdmin(settings.data, state)
    kept = KeptTokens(Sealer(keys.sealing), state)
    stop = asyncio.Event()
    health = Health()
    async with contextlib.AsyncExitStack() as stack:
        credentials = Credentials(secrets)
        catalogue = Catalogue(credentials.changed)
        wanted: list[str] = []  # MCP servers that changed before anything could ask them
        servers = Servers(wanted.append)
        for applier in (directory, pins, logging_rules, catalogue, first, servers):
            changes.subscribe(applier)
        await stack.enter_async_context(started(changes))
        if shows is not None:
            for line in await furnish(settings, changes, directory, first, clock):
                shows(line)
        journal = await asyncio.to_thread(_journal, settings, keys, changes)
        stack.push_async_callback(journal.close)

        async def introduce() -> None:
            await host.introduce_writer(changes, journal.writer, keys.public_key(), clock.now())

        if changes.doubt is None:  # else once somebody has confirmed the restored store
            await introduce()
        replicas = Replicas(state, f"{os.uname().nodename}@{slot}", lambda: changes.head)
        stack.push_async_callback(replicas.leave)
        await replicas.beat(clock.now())
        place = records_place(settings)
        shipper = shipping.Inline(places.journal, place.file, place.uri) if ships else None
        if shipper is not None:
            stack.push_async_callback(shipper.close)
        outbound = _outbound(settings, secrets, clock)
        stack.push_async_callback(outbound.close)
        auditing = Auditing.of(
            settings,
            fetch=outbound.fetch,
            entries=changes.entries,
            clock=clock.now,
            metrics=metrics,
        )
        stack.push_async_callback(auditing.close)
        sealer = Sealer(keys.sealing)
        tokens = tokens_of(own_url(settings), sealer, changes, directory)
        callers = Callers(directory, tokens)
        payloads = _payloads(settings, logging_rules, sealer, journal, metrics)
        stack.push_async_callback(asyncio.to_thread, payloads.close)
        parts = Parts(
            payloads=payloads,
            policy=changes,
            directory=callers,
            pins=pins,
            catalogue=catalogue,
            journal=journal,
            outbound=outbound,
            metrics=metrics,
            state=ResponseState(state),
            limits=_limits(settings),
            clock=clock.now,
        )
        gateway = Gateway(parts)
        stack.callback(gateway.close)
        mcp = build_mcp(
            parts,
            gateway,
            servers,
            changes=changes,
            callers=callers,
            tokens=tokens,
            state=state,
            sealer=sealer,
            secrets=secrets,
            fetch=outbound.fetch,
            replicas=replicas,
            settings=_mcp(settings),
        )
        stack.push_async_callback(mcp.auth.auth.close)
        gateway.mcp = mcp.endpoint
        servers.tells(mcp.changed)
        for name in wanted:
            mcp.changed(name)
        records = RecordAccess(place)
        stack.push_async_callback(records.close)
        erasing = Erasing(changes, records, journal, places.journal, places.payloads, state)
        inquiries = Inquiries(settings.store_url, MODEL_PATH.read_text("utf-8"))
        stack.push_async_callback(inquiries.close)
        runtime = Runtime(
            settings,
            changes,
            directory,
            pins,
            catalogue,
            first,
            journal,
            metrics,
            clock,
            replicas=replicas,
            inquiries=inquiries,
            records=records,
            payloads=Opened(sealer),
            mcp_auth=mcp.auth,
            erasing=erasing,
        )
        upkeep = Upkeep(journal, records, settings.journal.keep_days, auditing.streamed)
        skew = Skew(changes.store_time, clock.now)
        await skew.look()
        chores = Chores(
            runtime, gateway, state, kept, credentials, upkeep, shipper, introduce, skew
        )
        for late in (gateway.streams, mcp.listeners, chores):
            changes.subscribe(late)
        _watch(runtime, health, settings, skew)
        metrics.gauge("gatewarden_mcp_listeners", lambda: len(mcp.listeners))
        metrics.gauge("gatewarden_records_behind", lambda: upkeep.behind)
        control = build_api(runtime, refusals=gateway.refusals, kept_tokens=kept)
        mcp.add_to(control, runtime)
        add_operations(control, health, lambda: _snapshots(settings, keys, slot, metrics))
        if changes.doubt is None:
            await mcp.refreshing.furnish()
        port = await _listen(stack, settings, control, gateway, reuse_port)
        stack.callback(runtime.tails.end)  # before the server waits for whoever it serves
        if settings.workers > 1:
            offered = await offer_snapshot(socket_name(keys.installation, slot), metrics.snapshot)
            stack.callback(offered.close)
        collector.settle()
        stack.callback(gc.unfreeze)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(chores.run(stop))
        group.create_task(auditing.run(stop))
        group.create_task(mcp.refreshing.run(stop))
        keep = KeepDays(
            settings.payloads.keep_days,
            settings.records.request_days,
            settings.records.decision_days,
        )
        forgetting = Forgetting(records, keep, logging_rules.retention)
        group.create_task(each(RETENTION_SECONDS, stop, lambda: forgetting.run(clock.now())))
        group.create_task(each(AGAIN_SECONDS, stop, lambda: erasing.again(clock.now())))
        try:
            yield Process(port, runtime, gateway, health, servers)
        finally:
            health.draining = True
            stop.set()


async def _listen(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    control: web.Application,
    gateway: Gateway,
    reuse_port: bool,
) -> int:
    """Both planes on one port; the port."""
    control_runner = web.AppRunner(control, access_log=None, handle_signals=False)
    await control_runner.setup()
    stack.push_async_callback(control_runner.cleanup)
    runner = web.ServerRunner(
        Server(gateway, control_runner.server),
        handle_signals=False,
        shutdown_timeout=settings.drain_seconds,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(
        runner, settings.host, settings.port, reuse_port=reuse_port or None, backlog=1024
    )
    await site.start()
    return int(runner.addresses[0][1])


async def _snapshots(
    settings: Settings, keys: Keys, slot: int, metrics: Metrics
) -> list[dict[str, list[Any]]]:
    found = [metrics.snapshot()]
    if settings.workers > 1:
        found += await sibling_snapshots(keys.installation, settings.workers, slot)
    return found


def _watch(runtime: Runtime, health: Health, settings: Settings, skew: Skew) -> None:
    """Gauges, and the conditions of readiness."""
    changes, journal, metrics = runtime.changes, runtime.journal, runtime.metrics

    def age() -> float:
        return changes.age(runtime.clock.now())

    metrics.gauge("gatewarden_journal_depth", lambda: journal.depth)
    metrics.gauge("gatewarden_journal_age_seconds", lambda: journal.age)
    metrics.gauge("gatewarden_journal_writable", lambda: float(journal.writable))
    metrics.gauge("gatewarden_policy_epoch", lambda: changes.engine.epoch)
    metrics.gauge("gatewarden_policy_age_seconds", age)
    metrics.gauge("gatewarden_policy_rebuilds", lambda: changes.rebuilds)
    replicas = runtime.replicas
    assert replicas is not None
    metrics.gauge("gatewarden_replicas_live", lambda: len(replicas.seen))
    metrics.gauge("gatewarden_replicas_lowest_epoch", lambda: replicas.lowest)
    metrics.gauge("gatewarden_clock_skew_seconds", lambda: abs(skew.seconds or 0.0))
    metrics.gauge("gatewarden_up", lambda: float(health.ready))
    stale = max(settings.policy.max_stale, TICK_SECONDS)
    health.require(
        "policy", lambda: (changes.problem is None, changes.problem or f"epoch {changes.head}")
    )
    health.require("store", lambda: (age() <= stale, f"read {age():.1f} s ago"))
    health.require("clock", lambda: (skew.ok, skew.detail))
    health.require("journal", lambda: (journal.writable, f"{journal.depth} waiting"))
