"""Asks the engine and writes down what it said; a refusal is raised, so nothing can go on past it.

Every question that a caller asks becomes one decision record before anything else happens. The record
starts on its way to the disk at once; whoever answers the caller waits for it (`Exchange.settle`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from authz.conditions import Context
from authz.decision import Decision, Reason
from authz.records import decision_record
from authz.vocabulary import Action
from identity.principal import Principal
from proxy import models
from proxy.errors import GatewayError
from proxy.exchange import Exchange
from proxy.facts import NO_FIELDS, Facts
from proxy.parts import Parts
from proxy.refusals import TOO_MANY, Refusals

OPEN_BODY = frozenset({"body."})
_BOUND = frozenset[str]()


class Judge:
    """Decisions of the data plane, and their records."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.refusals = Refusals(parts.journal.note, parts.limits.refusals_per_minute)

    def decide(
        self,
        exchange: Exchange,
        principal: Principal,
        action: Action,
        name: str,
        fields: Mapping[str, object],
        *,
        unbound: frozenset[str] = _BOUND,
    ) -> None:
        """Returns if `principal` may do `action` on the model called `name`.

        Raises:
            ModelNotFound | AccessDenied | DecisionFailed: it may not.
            GatewayError: `too_many_refusals`.
        """
        parts = self._parts
        # INVARIANT: what is decided is the id of what would be called. A caller's `acme/mini` is today's
        # `model:acme~2/mini`, so that nothing which was granted on the account before reaches it.
        known = parts.catalogue.model(name)
        resource = known.id if known is not None else models.resource_of(name)
        facts = self._facts(exchange, principal, fields)
        begun = parts.timer()
        decision = parts.policy.engine.decide(
            principal, action.value, resource, Context(lazy=facts, unbound=unbound)
        )
        took = parts.timer() - begun
        exchange.decision = decision
        parts.metrics.decided(decision.effect.value, decision.reason.value, action.value)
        if not decision:
            self._count(exchange, principal, decision)
        self._record(exchange, principal, decision, action.value, resource, took)
        if not decision:
            raise models.refusal(name, decision, parts.limits.contact, exchange.decision_id)

    def visible(
        self, exchange: Exchange, principal: Principal, action: Action, ids: Sequence[str]
    ) -> tuple[str, ...]:
        """Those of `ids` that some request of `principal` could use; one record for the whole list.

        Raises:
            DecisionFailed: the list could not be made; half a list is no answer.
        """
        parts = self._parts
        engine = parts.policy.engine
        facts = self._facts(exchange, principal, NO_FIELDS)
        begun = parts.timer()
        try:
            found = engine.visible(
                principal, action.value, ids, Context(lazy=facts, unbound=OPEN_BODY)
            )
        except Exception as error:
            raise models.DecisionFailed("the list could not be made", hint="try again") from error
        took = parts.timer() - begun
        decision = exchange.decision = models.listing_decision(engine.epoch, engine.digest)
        parts.metrics.decided(decision.effect.value, decision.reason.value, action.value)
        self._record(
            exchange,
            principal,
            decision,
            action.value,
            models.ANY_MODEL,
            took,
            len(found),
            models.digest_of(found),
        )
        return found

    def _facts(
        self, exchange: Exchange, principal: Principal, fields: Mapping[str, object]
    ) -> Facts:
        return Facts(
            principal,
            exchange.now,
            exchange.client,
            exchange.request.headers,
            fields,
            exchange.pinned,
            exchange.metadata,
        )

    def _count(self, exchange: Exchange, principal: Principal, decision: Decision) -> None:
        """Lets a refusal pass to its record, or raises `too_many_refusals`."""
        if decision.reason is Reason.ERROR:
            return
        if not self.refusals.denied(principal.id, exchange.now_us):
            exchange.decision = None
            exchange.recorded = False  # the count is the record
            raise GatewayError("too many refused requests in this minute", code=TOO_MANY)

    def _record(
        self,
        exchange: Exchange,
        principal: Principal,
        decision: Decision,
        action: str,
        resource: str,
        took: float,
        count: int = 0,
        result_digest: str = "",
    ) -> None:
        journal = self._parts.journal
        exchange.ticket = journal.append(
            decision_record(
                decision,
                principal=principal.id,
                credential=principal.credential_id,
                request_id=exchange.id,
                trace_id=exchange.trace_id,
                client=exchange.client,
                route=exchange.route_name,
                us=int(took * 1_000_000),
                action=action,
                resource=resource,
                count=count,
                result_digest=result_digest,
            )
        )
        journal.tick(exchange.now_us)  # write now, while the upstream is being called
