"""Names of models as callers write them, and what is said about them.

A name is `<account>/<model>` and is compared with what is declared; it never becomes part of a path or
an address. A model that does not exist and one that the caller may not use get the same answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from authz.decision import Decision, Effect, Reason
from authz.vocabulary import Kind, escape
from identity.tokens import redact
from proxy.body import shown
from proxy.errors import GatewayError

# As `policies.documents` has it: Name, a slash, ModelName. All of it is plain, so it needs no escapes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}\Z")
_PREFIX = f"{Kind.MODEL.value}:"
MAX_UNKNOWN = 200  # characters of a name that cannot be one, as it goes into the record

# No allow row matched one of the questions: the caller, its bound, or its token.
_LIKE_NOTHING = frozenset(
    {Reason.NO_GRANT, Reason.UNKNOWN_RESOURCE, Reason.OUTSIDE_BOUND, Reason.OUTSIDE_TOKEN}
)
ANY_MODEL = f"{Kind.ANY.value}:model"


class ModelNotFound(GatewayError):
    """No such model, or none that the caller may use: both look like this."""

    code = "model_not_found"


class AccessDenied(GatewayError):
    """A rule or a condition refuses what a grant would allow."""

    code = "access_denied"


class DecisionFailed(GatewayError):
    """Our own fault."""

    code = "decision_failed"


def resource_of(name: str) -> str:
    """The id to decide on for a name that the catalogue does not have: it is refused and recorded.

    What is no name of a model gets an id that no catalogue has. That goes for `acme~2/mini` too: a
    generation is how we store an account, never how a caller may say it.
    """
    name = redact(name)  # somebody may have pasted a token, and this is written down for ever
    if _NAME.match(name):
        return _PREFIX + name
    return _PREFIX + (escape(name[:MAX_UNKNOWN]).replace("~", "%7E") or "-")


def refusal(name: str, decision: Decision, contact: str, decision_id: str) -> GatewayError:
    """What the caller is told of a decision that denies.

    Only a caller for whom an allow row matched learns that the model exists.
    """
    if decision.reason is Reason.ERROR:
        return DecisionFailed("the decision could not be taken", hint="try again")
    if decision.reason in _LIKE_NOTHING:
        return not_found(name, contact, decision_id)
    message = decision.message or "a rule of your organisation refuses this"
    return AccessDenied(f"{message}; contact {contact}; decision {decision_id}", param="model")


def not_found(name: str, contact: str, decision_id: str) -> ModelNotFound:
    """The one text for what does not exist and for what is not the caller's."""
    return ModelNotFound(
        f"`{shown(name)}` does not exist or you have no access; "
        f"contact {contact}; decision {decision_id}",
        param="model",
    )


def listing_decision(epoch: int, digest: str) -> Decision:
    """The decision that stands for a whole list; its record has count and digest of the result."""
    return Decision(Effect.ALLOW, Reason.ALLOWED, epoch, digest)


def digest_of(ids: Sequence[str] | Iterable[str]) -> str:
    """Hex SHA-256 of a list of ids, one a line."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
