"""Made-up requests of many days, and the readers who ask for them: what `bench.logs` fills a store with.

A few are planted among them that a hard reader looks for: somebody with twelve old ones, teams that hardly
work, a value of metadata that a rule leaves almost nothing of.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from authz import keys
from authz.filters import EVERYTHING, Filter, all_of, either, has, lacks
from authz.keys import keys_of, stamp_of
from authz.recording import request_record
from authz.records import canonical
from store.request_records import Entry, Shelf

DAY = 86_400_000_000
START = 1_790_000_000_000_000


class Reader(NamedTuple):
    """Somebody who asks, and what it comes to."""

    name: str
    filter: Filter


def readers() -> list[Reader]:
    """The hard ones: each is hard for another kind of index."""
    forty = has(*(keys.team(f"team:t{n}") for n in range(20, 60)))
    dormant = has(*(keys.team(f"team:d{n}") for n in range(40)))
    retired = has(keys.plain("model", "acme/retired"))
    region, app = has(keys.pinned("region")), has(keys.pinned("app"))
    regions = lacks(*(keys.pinned("region", one) for one in ("emea", "apac", "na")))
    rare = (
        all_of(has(keys.creator("user:u-rare"))),
        all_of(dormant),
        all_of(has(keys.pinned("region", "rare"))),
        all_of(retired),
        all_of(region, regions),
    )
    return [
        Reader("own, 12 old", rare[0]),
        Reader("40 teams", all_of(forty)),
        Reader("40 dormant teams", all_of(dormant)),
        Reader("rare metadata value", rare[2]),
        Reader("one of 20,000 customers", all_of(has(keys.pinned("customer", "c-777")))),
        Reader("not in, much left", all_of(app, lacks(keys.pinned("app", "a0")))),
        Reader("not in, 25 left", all_of(region, regions)),
        Reader(
            "not by some", all_of(lacks(*(keys.creator(f"virtualaccount:v{n}") for n in range(5))))
        ),
        Reader(
            "union of five",
            either(
                all_of(forty, has(keys.pinned("region", "emea"))),
                all_of(has(keys.creator("user:u-5"))),
                all_of(has(keys.owner("team:t3"))),
                all_of(app, lacks(keys.pinned("app", "a0"), keys.pinned("app", "a1"))),
                all_of(has(keys.plain("model", "acme/m7")), has(keys.pinned("env", "prod"))),
            ),
        ),
        Reader("union of five rare", either(*rare)),
        Reader("admin", EVERYTHING),
        Reader("admin, retired model", all_of(retired)),
        Reader("40 teams, retired model", all_of(forty, retired)),
        Reader("40 teams, status 500", all_of(forty, has(keys.plain("status", "500")))),
        Reader(
            "40 teams, one conversation", all_of(forty, has(keys.claimed("conversation", "none")))
        ),
        Reader(
            "a big team, another's account",
            all_of(has(keys.team("team:t0")), has(keys.creator("virtualaccount:v1"))),
        ),
    ]


def entries(count: int, days: int) -> Iterator[Entry]:
    """Requests, oldest first; the same for every store."""
    draw = random.Random(6)
    users = [f"user:u-{n}" for n in range(20_000)]
    weights = [1 / (n + 1) for n in range(20_000)]
    who = draw.choices(users, list(weights), k=count)
    accounts = draw.choices(range(2000), [1 / (n + 1) for n in range(2000)], k=count)
    planted = _planted(draw, count)
    for n in range(count):
        account = draw.random() < 0.6
        principal = f"virtualaccount:v{accounts[n]}" if account else who[n]
        team = f"team:t{accounts[n] % 500 if account else hash_of(who[n]) % 500}"
        pinned = {"env": draw.choice(("prod", "prod", "dev"))}
        if draw.random() < 0.6:
            pinned["region"] = draw.choice(("emea", "apac", "na"))
        if draw.random() < 0.8:
            pinned["app"] = f"a{min(int(draw.expovariate(0.3)), 40)}"
        if draw.random() < 0.5:
            pinned["customer"] = f"c-{draw.randrange(20_000)}"
        status = 200 if draw.random() < 0.96 else draw.choice((400, 429, 500))
        said: dict[str, Any] = {
            "principal": principal,
            "teams": (team,),
            "owner_team": team if account else "",
            "model": f"acme/m{min(int(draw.expovariate(0.12)), 59)}",
            "pinned": pinned,
            **planted.get(n, {}),
        }
        record = request_record(
            request_id=f"r-{n:016x}",
            decision_id=f"{n:026x}",
            credential=f"credential:{principal[-8:]}",
            status=status,
            route="/v1/chat/completions",
            account="acme",
            dialect="openai",
            upstream_status=status,
            input_tokens=draw.randrange(20, 9000),
            output_tokens=draw.randrange(1, 2000),
            first_byte_ms=draw.randrange(80, 1500),
            total_ms=draw.randrange(200, 30_000),
            cost=draw.randrange(1000, 90_000_000),
            claimed={"conversation": f"{n // 4:x}"} if n % 3 else None,
            **said,
        )
        at = START + n * days * DAY // count
        aside = record.aside
        body = json.loads(canonical(record))
        body.pop("aside", None)
        line = {"at": at, "body": body, "hash": "ab" * 32, "id": f"{n:026x}", "prev": "cd" * 32}
        line |= {"seq": n + 1, "writer": "w"} | ({"aside": aside} if aside else {})
        stamp = keys_of(stamp_of(body, aside))
        yield Entry(Shelf.REQUESTS, "w", n + 1, f"{n:026x}", at, stamp, canonical(line))


def hash_of(text: str) -> int:
    """A number that is the same in every run."""
    return sum(text.encode()) * 2_654_435_761 % 1_000_003


def _planted(draw: random.Random, count: int) -> dict[int, dict[str, Any]]:
    made: dict[int, dict[str, Any]] = {}
    for n in range(12):
        made[n * 3] = {"principal": "user:u-rare", "owner_team": ""}
    for n in draw.sample(range(count), 30):
        made[n] = {"model": "acme/retired"}
    for n in draw.sample(range(count), 25):
        made[n] = {"pinned": {"region": "rare"}}
    for n in draw.sample(range(count), 200):
        made[n] = {"teams": (f"team:d{n % 40}",), "owner_team": ""}
    return made
