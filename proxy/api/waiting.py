"""`wait=applied`: a changing call that answers once every live process decides by the change.

The change is durable and holds in the process that made it, however the wait ends: the answer is the same,
and says how many of the live processes have it and which have not.
"""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from proxy.api.problem import BadQuery
from proxy.api.routes import Answer, Call, Route
from store.errors import StoreUnavailable
from store.replicas import Applied

PARAMETER = "wait"
APPLIED = "x-policy-applied"
WAITING = "x-policy-waiting"
TOLD = (APPLIED, WAITING)
UNKNOWN = "unknown"  # who else is live could not be read
_MOST_NAMES = 50  # in a header


def parameters(route: Route) -> frozenset[str]:
    """What a route takes beside its own query parameters."""
    return frozenset({PARAMETER}) if route.mutates else frozenset()


def wanted(route: Route, request: web.Request) -> bool:
    """Whether the caller wants to wait.

    Raises:
        BadQuery: given twice, or another value than `applied`.
    """
    values = request.query.getall(PARAMETER, []) if route.mutates else []
    if not values:
        return False
    if values != ["applied"]:
        raise BadQuery(f"`{PARAMETER}` takes one value", hint=f"{PARAMETER}=applied")
    return True


async def waited(call: Call, answer: Answer) -> Answer:
    """The answer, once the live processes have applied its epoch or the wait is over."""
    if not call.waits or getattr(answer.body, "dry_run", False):
        return answer
    runtime = call.runtime
    epoch = answer.epoch if answer.epoch is not None else runtime.changes.head
    found = Applied(1, 1)
    if runtime.replicas is not None:
        try:
            found = await runtime.replicas.wait(epoch, runtime.clock.now)
        except StoreUnavailable:  # the change is made: that must not look as if it had failed
            return replace(answer, headers={**answer.headers, WAITING: UNKNOWN})
    headers = {**answer.headers, APPLIED: f"{found.reached}/{found.total}"}
    if found.waiting:
        headers[WAITING] = ", ".join(found.waiting[:_MOST_NAMES])
    return replace(answer, headers=headers)
