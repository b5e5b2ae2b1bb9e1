"""`GET /v1/models` and `/v1/models/{id}`: what the caller may use, in the dialect that it speaks.

The list is what `visible` says, restricted to models that serve this dialect; showing one model asks
the same question as a call does, with the body left open. So list, show and call cannot disagree.
"""

from __future__ import annotations

from aiohttp import web

from authz.vocabulary import Action
from identity.principal import Principal
from proxy import answers
from proxy.exchange import Exchange
from proxy.facts import NO_FIELDS
from proxy.judge import OPEN_BODY, Judge
from proxy.models import not_found
from proxy.parts import Parts
from proxy.providers.base import Dialect


class Listing:
    """Serves the routes that show models."""

    def __init__(self, parts: Parts, judge: Judge) -> None:
        self._parts = parts
        self._judge = judge

    async def list(
        self, exchange: Exchange, action: Action, principal: Principal, dialect: Dialect
    ) -> web.Response:
        """All models that the caller could use, in order of their names.

        Raises:
            GatewayError: a paging parameter cannot be read.
        """
        known = {m.id: m for m in self._parts.catalogue.models() if dialect in m.dialects}
        found = self._judge.visible(exchange, principal, action, tuple(known))
        body = exchange.voice.listing([known[id] for id in found], exchange.request.query)
        return await self._answer(exchange, body)

    async def show(
        self, exchange: Exchange, action: Action, principal: Principal, dialect: Dialect, name: str
    ) -> web.Response:
        """One model, or what is said of one that does not exist."""
        self._judge.decide(exchange, principal, action, name, NO_FIELDS, unbound=OPEN_BODY)
        model = self._parts.catalogue.model(name)
        if model is None or dialect not in model.dialects:
            raise not_found(name, self._parts.limits.contact, exchange.decision_id)
        exchange.model = model.id.partition(":")[2]
        return await self._answer(exchange, exchange.voice.entry(model))

    async def _answer(self, exchange: Exchange, body: bytes) -> web.Response:
        await exchange.settle()
        at = exchange.first_byte = self._parts.timer()
        return answers.json_answer(body, exchange, self._parts.policy.engine.epoch, at)
