"""The gateway of `bench/relay.py`: real parts over a policy of the asked size, made in memory.

Only the change log is stood in for, because a bench has no changes; it answers from the same engine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.engine import Engine
from authz.rows import Row, row
from conf.settings import MODEL_PATH
from identity.directory import Directory
from identity.pins import Pins
from identity.principal import CredentialKind
from identity.tokens import mint
from policies.documents import Credential, Document, User, parse
from proxy.catalogue import Catalogue
from proxy.gateway import Gateway
from proxy.guard import Guard
from proxy.metrics import Metrics
from proxy.outbound import Client
from proxy.parts import Parts, utc_now
from proxy.secrets import SecretRules, Secrets
from proxy.server import Server
from store.journal import Journal

ACCOUNTS = 20
MODELS = 20  # of each account
KEY = "GATEWARDEN_SECRET_BENCH"


@dataclass
class Standing:
    """A change log in which nothing happens."""

    engine: Engine
    head: int = 1

    def age(self, now: datetime) -> float:
        return 0.0

    async def poll(self) -> int:
        return 0


@dataclass
class Estate:
    documents: list[Document]


def rows_of(grants: int, users: int) -> list[Row]:
    """Users in ten teams each, teams with roles, and grants on models and accounts."""
    chance = random.Random(7)
    rows = [row("g3", "model:use", "role:provider-account-access")]
    for account in range(ACCOUNTS):
        for model in range(MODELS):
            thing = f"model:acme{account}/m{model}"
            rows += [
                row("g2", thing, f"open-models:acme{account}"),
                row("g2", thing, f"provider-account:acme{account}"),
                row("g2", thing, "any:model"),
            ]
    teams = max(users // 10, 1)
    for user in range(users):
        rows.append(row("g", f"user:u-{user}", "team:everyone"))
        rows += [
            row("g", f"user:u-{user}", f"team:t{team}") for team in chance.sample(range(teams), 10)
        ]
    made: set[tuple[str, str]] = set()
    while len(made) < grants:
        subject = f"team:t{chance.randrange(teams)}"
        if chance.random() < 0.5:
            subject = f"user:u-{chance.randrange(users)}"
        account = chance.randrange(ACCOUNTS)
        thing = f"model:acme{account}/m{chance.randrange(MODELS)}"
        made.add((subject, thing if chance.random() < 0.8 else f"open-models:acme{account}"))
    rows += [
        row("p", subject, thing, "role:provider-account-access", "allow", "", f"bench/g{n}#x")
        for n, (subject, thing) in enumerate(sorted(made))
    ]
    return rows


async def gateway(
    folder: Path, upstream: int, grants: int, users: int, pairs: int
) -> tuple[Server, Callable[[], None]]:
    """The server, and what is to be called each second. Writes `pairs.json` into `folder`."""
    folder.mkdir(parents=True)
    documents: list[Document] = [
        parse(
            {
                "type": "provider-account/openai-compatible",
                "name": f"acme{account}",
                "base_url": f"http://127.0.0.1:{upstream}/v1",
                "auth_data": {"type": "api-key", "api_key": f"env:{KEY}"},
                "integrations": [
                    {"type": "integration/model/openai", "name": f"m{n}", "model_id": "gpt-bench"}
                    for n in range(MODELS)
                ],
            }
        )
        for account in range(ACCOUNTS)
    ]
    tokens = []
    for user in range(users):
        minted = mint(CredentialKind.PAT)
        tokens.append(minted.secret)
        documents += [
            User(name=f"u-{user}"),
            Credential(
                name=minted.id,
                token_kind="pat",
                subject=f"user:u-{user}",
                digest=minted.digest,
                created_at=utc_now(),
            ),
        ]
    directory, catalogue, pins = Directory(), Catalogue(), Pins()
    for applier in (directory, catalogue, pins):
        applier.load(Estate(documents))
    engine = Engine.load(MODEL_PATH.read_text(), rows_of(grants, users), 1)
    journal = Journal.open(folder / "journal", signing_key=Ed25519PrivateKey.generate())
    secrets = Secrets(SecretRules.of([f"{KEY}=*"]), environ={KEY: "sk-bench"})
    made = Gateway(
        Parts(
            policy=Standing(engine),
            directory=directory,
            pins=pins,
            catalogue=catalogue,
            journal=journal,
            outbound=Client(secrets, Guard.of(["127.0.0.0/8"]), utc_now),
            metrics=Metrics(),
        )
    )
    usable = _pairs(engine, directory, tokens, catalogue, pairs)
    (folder / "pairs.json").write_text(json.dumps(usable))

    def tick() -> None:
        now = utc_now()
        made.tick(now)
        journal.tick(int(now.timestamp() * 1_000_000))

    return Server(made), tick


def _pairs(
    engine: Engine, directory: Directory, tokens: list[str], catalogue: Catalogue, count: int
) -> list[tuple[str, str]]:
    """Tokens, each with a model that it may use."""
    from authz.conditions import Context

    found = []
    ids = [model.id for model in catalogue.models()]
    for number, token in enumerate(tokens):
        principal = directory.authenticate(token, utc_now())
        usable = engine.visible(principal, "model:use", ids, Context())
        if usable:
            found.append((token, usable[number % len(usable)].removeprefix("model:")))
        if len(found) == count:
            break
    return found
