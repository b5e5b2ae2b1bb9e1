"""Asks the engine and writes down what it said; a refusal is raised, so nothing can go on past it.

Every question that a caller asks becomes one decision record before anything else happens. The record
starts on its way to the disk at once; whoever answers the caller waits for it (`Exchange.settle`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from authz.conditions import Context
from authz.decision import Decision, Reason
from authz.recording import decision_record
from authz.vocabulary import Action
from identity.principal import Principal
from proxy import models
from proxy.errors import GatewayError
from proxy.exchange import Exchange, stamped_teams
from proxy.facts import NO_FIELDS, Facts
from proxy.parts import Parts
from proxy.providers.base import Upstream
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
    ) -> Upstream | None:
        """Returns if `principal` may do `action` on the model called `name`: the upstream that was decided on.

        None: policy knows the model and the catalogue does not.

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
        context = Context(NO_FIELDS, facts, unbound)
        decision = self.ask(exchange, principal, action, resource, context)
        if not decision:
            raise models.refusal(name, decision, parts.limits.contact, exchange.decision_id)
        return known

    def ask(
        self,
        exchange: Exchange,
        principal: Principal,
        action: Action,
        resource: str,
        context: Context,
        arguments: str = "",
    ) -> Decision:
        """The decision of one question, written down; `arguments` is the digest that its record keeps.

        Raises:
            GatewayError: `too_many_refusals`.
        """
        # `_value_` of an enum's member is a plain attribute, `value` two calls; both are the text.
        parts, name = self._parts, action._value_
        begun = parts.timer()
        decision = parts.policy.engine.decide(principal, name, resource, context)
        took = parts.timer() - begun
        exchange.decision = decision
        parts.metrics.decided(decision.effect._value_, decision.reason._value_, name)
        if not decision:
            self._count(exchange, principal, decision)
        self._record(exchange, principal, decision, name, resource, took, arguments=arguments)
        return decision

    def visible(
        self, exchange: Exchange, principal: Principal, action: Action, ids: Sequence[str]
    ) -> tuple[str, ...]:
        """Those of `ids` that some request of `principal` could use; one record for the whole list.

        Raises:
            DecisionFailed: the list could not be made; half a list is no answer.
        """
        context = Context(lazy=self._facts(exchange, principal, NO_FIELDS), unbound=OPEN_BODY)
        begun = self._parts.timer()
        found = self.look(principal, action, ids, context)
        took = self._parts.timer() - begun
        self.listed(exchange, principal, action, models.ANY_MODEL, found, took)
        return found

    def look(
        self, principal: Principal, action: Action, ids: Iterable[str], context: Context
    ) -> tuple[str, ...]:
        """As `visible`, for whoever writes it down later or looks on nobody's request.

        Raises:
            DecisionFailed.
        """
        try:
            return self._parts.policy.engine.visible(principal, action.value, ids, context)
        except Exception as error:
            raise models.DecisionFailed("the list could not be made", hint="try again") from error

    def listed(
        self,
        exchange: Exchange,
        principal: Principal,
        action: Action,
        container: str,
        found: Sequence[str],
        took: float,
    ) -> None:
        """Writes down that `found` is what was shown of `container`; `took` in seconds."""
        engine = self._parts.policy.engine
        decision = exchange.decision = models.listing_decision(engine.epoch, engine.digest)
        self._parts.metrics.decided(decision.effect.value, decision.reason.value, action.value)
        self._record(
            exchange,
            principal,
            decision,
            action.value,
            container,
            took,
            len(found),
            models.digest_of(found),
        )

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
        arguments: str = "",
    ) -> None:
        journal = self._parts.journal
        teams = exchange.teams
        if teams is None:
            teams = exchange.teams = stamped_teams(principal, self._parts.policy.engine)
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
                arguments=arguments,
                # As the record of the request has them: by these a reader's scope finds it.
                teams=teams,
                owner_team=principal.owner_team or "",
                pinned=exchange.pinned,
            )
        )
        journal.tick(exchange.now_us)  # write now, while the upstream is being called
