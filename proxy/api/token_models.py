"""Bodies and answers about tokens, credentials, and who one is (`models.py` for all others)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from proxy.api.models import Answer, Email, Given

TokenName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,34}[a-z0-9]$")]


class RestrictionBody(Given):
    """What the token may still do. It never adds a right; an empty list of these allows nothing."""

    actions: list[Annotated[str, StringConstraints(min_length=3, max_length=64)]] = Field(
        min_length=1, max_length=64
    )
    resources: list[Annotated[str, StringConstraints(min_length=3, max_length=512)]] = Field(
        min_length=1, max_length=256
    )


class TokenBody(Given):
    name: TokenName
    expiration_date: AwareDatetime | date | None = Field(
        default=None,
        alias="expirationDate",
        description="An instant, or a day: it ends at the following 00:00 UTC.",
    )
    team_name: str | None = Field(
        default=None,
        alias="teamName",
        max_length=64,
        description="The team that its use is counted for; the owner must be a member.",
    )
    restrictions: list[RestrictionBody] | None = Field(default=None, max_length=64)


class TokenForUserBody(TokenBody):
    email: Email


class TokenAnswer(Answer):
    """A token without its secret."""

    id: str
    kind: Literal["pat", "vat", "oauth"]
    name: str
    subject: str
    created_at: datetime = Field(alias="createdAt")
    created_by: str = Field(alias="createdBy")
    expires_at: datetime | None = Field(alias="expirationDate")
    team: str | None = Field(alias="teamName")
    restrictions: list[dict[str, list[str]]] | None


class TokenPage(Answer):
    data: list[TokenAnswer]
    next: str | None


class TokenCreated(TokenAnswer):
    token: str = Field(description="Shown here once; keep it in a secret store.")
    epoch: int


class RevokedAnswer(Answer):
    epoch: int
    revoked: list[str] = Field(description="Ids of the tokens that ended.")


class VirtualAccountToken(Answer):
    id: str
    token: str
    expires_at: datetime | None


class RegenerateBody(Given):
    grace_period_in_days: int = Field(
        default=0,
        ge=0,
        le=90,
        alias="gracePeriodInDays",
        description="Days that the tokens before stay valid.",
    )


class RegeneratedAnswer(VirtualAccountToken):
    epoch: int
    ending: list[str] = Field(description="Ids of the tokens that end after the grace period.")


# Who, and why


class CredentialAnswer(Answer):
    id: str
    kind: str
    expires_at: datetime | None
    restrictions: list[dict[str, list[str]]] | None = Field(
        description="null = unrestricted; an empty list allows nothing."
    )


class WhoamiAnswer(Answer):
    id: str
    kind: Literal["user", "virtualaccount"]
    name: str = Field(description="A user's e-mail, an account's name.")
    credential: CredentialAnswer
    teams: list[str]
    roles: list[str]
    bound: str | None = Field(description="The team whose rights limit this account.")
    owner_team: str | None
    epoch: int
