"""The gateway of `bench/relay.py` and `bench/mcp.py`: the whole process of `gatewarden serve`, over an estate of 10,000 grants.

The estate is committed through the change log like any other, then the process starts from it: feed,
journal with fdatasync, shipping to the records store, metrics. Nothing is left out or stood in for.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from authz.conditions import Context
from conf.settings import Settings, UpstreamSettings
from identity.issue import credential_document
from identity.principal import CredentialKind, Principal
from identity.tokens import mint
from policies.change import Change, Source
from policies.documents import Document, parse
from proxy import shipping
from proxy.app import running
from proxy.host import Places
from proxy.installation import keys_of, on_host
from store.changes import ChangeLog

ACCOUNTS = 20
MODELS = 20  # of each account; the second half has subjects of its own
SUBJECTS = 40  # of each of those: 8,000 grants
COLLABORATORS = 100  # of each account: 2,000 grants
CALLERS = 1_000
TEAMS = 100
KEY = "GATEWARDEN_SECRET_BENCH"


def estate(upstream: int) -> list[Document]:
    """Callers in ten teams each, and accounts whose grants name teams and callers."""
    chance = random.Random(7)
    callers = [_email(number) for number in range(CALLERS)]
    teams = [f"team:t{n}" for n in range(TEAMS)]
    subjects = [f"user:{caller}" for caller in callers] + teams
    members: dict[str, list[str]] = {team: [] for team in teams}
    for caller in callers:
        for team in chance.sample(teams, 10):
            members[team].append(caller)
    documents: list[dict[str, object]] = [{"type": "user", "name": caller} for caller in callers]
    documents += [
        {"type": "team", "name": team.partition(":")[2], "members": members[team]} for team in teams
    ]
    for account in range(ACCOUNTS):
        models: list[dict[str, object]] = [
            {"type": "integration/model/openai", "name": f"m{n}", "model_id": "gpt-bench"}
            for n in range(MODELS)
        ]
        for model in models[MODELS // 2 :]:
            model["authorized_subjects"] = chance.sample(subjects, SUBJECTS)
        documents.append(
            {
                "type": "provider-account/openai-compatible",
                "name": f"acme{account}",
                "base_url": f"http://127.0.0.1:{upstream}/v1",
                "auth_data": {"type": "api-key", "api_key": f"env:{KEY}"},
                "collaborators": [
                    {"subject": subject, "role_id": "provider-account-access"}
                    for subject in chance.sample(subjects, COLLABORATORS)
                ],
                "integrations": models,
            }
        )
    return [parse(document) for document in documents]


async def fill(changes: ChangeLog, upstream: int, pairs: int) -> list[tuple[str, str]]:
    """Commits the estate and its tokens; tokens with a model that each may use."""
    await _commit(changes, estate(upstream))
    names = [f"model:acme{account}/m{n}" for account in range(ACCOUNTS) for n in range(MODELS)]
    found: list[tuple[str, str]] = []
    credentials: list[Document] = []
    for number in range(CALLERS):
        person = await changes.person_by_email(_email(number))
        assert person is not None
        subject = f"user:{person.id}"
        minted = mint(CredentialKind.PAT)
        credentials.append(
            credential_document(minted, subject, now=datetime.now(UTC), created_by="host")
        )
        caller = Principal(subject, minted.id, CredentialKind.PAT)
        usable = changes.engine.visible(caller, "model:use", names, Context())
        if usable and len(found) < pairs:
            model = usable[number % len(usable)].removeprefix("model:")
            found.append((minted.secret, model))
    await _commit(changes, credentials)
    return found


async def _commit(changes: ChangeLog, documents: list[Document]) -> None:
    change = Change("host", Source.HOST, "bench", tuple(documents))
    await changes.commit(change, None, datetime.now(UTC))


def _email(number: int) -> str:
    return f"app{number}@example.com"


@asynccontextmanager
async def gateway(
    folder: Path,
    port: int,
    upstream: int,
    pairs: int,
    more: Sequence[dict[str, object]] = (),
) -> AsyncIterator[None]:
    """Serves on `port` while the block runs, with `more` documents. Writes `pairs.json` into `folder`."""
    settings = Settings(
        data=folder,
        port=port,
        upstream=UpstreamSettings(allow_private=("127.0.0.0/8",), secret_env=(f"{KEY}=*",)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    keys = keys_of(settings)
    async with on_host(settings) as changes:
        usable = await fill(changes, upstream, pairs)
        if more:
            await _commit(changes, [parse(document) for document in more])
    (folder / "pairs.json").write_text(json.dumps(usable))
    places = Places(settings.data)
    async with (
        shipping.kept(places.journal, places.records, settings.log_level),
        running(settings, keys, ships=False),
    ):
        yield
