"""`/mcp-servers/{name}/auth`: what a principal gave a server, by the principal or by a manager of the server.

For oneself it takes `mcp-server:use` on the server, for somebody else `mcp-server:write`. Nothing that was given is ever
shown again. These are no documents: they are kept sealed beside the change log, where they can be erased,
and the recorded decision of the gate is the record of each use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from authz.vocabulary import Action, Kind, make_id, split_id
from policies.naming import id_of
from proxy.api.collections import USERS, VIRTUAL_ACCOUNTS
from proxy.api.find import find
from proxy.api.models import Given
from proxy.api.problem import BadQuery
from proxy.api.routes import Answer, Body, Call, Gate, Gates, Route
from proxy.mcp.auth.flows import LIFETIME
from proxy.mcp.auth.parts import AuthParts
from proxy.mcp.auth.ports import AuthOf
from proxy.middleware.access import missing

ONLY_MANAGERS = "only managers of the MCP server set a credential for somebody else"
_PATH = "/mcp-servers/{name}/auth"
_TAG = "mcp-servers"
_ACTIONS = (Action.MCP_SERVER_USE, Action.MCP_SERVER_WRITE, Action.MCP_SERVER_READ)


class SubjectQuery(Given):
    subject: Annotated[
        str,
        Field(
            max_length=254,
            description="For whom, if not for yourself: an e-mail, `user:<id>` or `virtualaccount:<name>`."
            " Takes `mcp-server:write` on the server.",
        ),
    ] = ""


class ValuesBody(Given):
    """Values for the `{{KEY}}` in the server's headers; those that are not named stay as they are."""

    values: Annotated[
        dict[str, Annotated[str, StringConstraints(min_length=1, max_length=16_384)]],
        Field(min_length=1, max_length=64, repr=False),
    ]


class McpAuthAnswer(BaseModel):
    """Whether requests of the subject to the server carry what it takes. Never what that is."""

    model_config = ConfigDict(extra="forbid")

    server: str
    subject: str
    status: Literal["authenticated", "unauthenticated"]
    method: Literal[
        "none", "header", "auth-override", "oauth", "client-credentials", "aws-sigv4"
    ] = Field(
        description="`auth-override`: headers with values of the subject's own; `oauth`: its own authorization."
    )
    missing: list[str] = Field(description="Values that the subject has still to give.")


class McpAuthStartAnswer(BaseModel):
    """Where to authorise, in a browser."""

    model_config = ConfigDict(extra="forbid")

    authorization_url: str
    expires_in: int = Field(description="Seconds for which it can be finished.")


PartsOf = Callable[[Call], AuthParts]


class _Auth:
    """The handlers; `parts` finds what they work with."""

    def __init__(self, parts: PartsOf) -> None:
        self._parts = parts

    async def gates(self, call: Call) -> Gates:
        """The server in the path, asked for oneself or for somebody else."""
        name = call.path("name")
        server = self._parts(call).server(name)
        subject = await _subject(call)
        call.kept["server"], call.kept["subject"] = server, subject
        thing = server.id if server is not None else make_id(Kind.MCP_SERVER, name)
        if subject == call.principal.id:
            return ((Gate(Action.MCP_SERVER_USE, thing, Action.MCP_SERVER_READ),),)
        return ((Gate(Action.MCP_SERVER_WRITE, thing, said=ONLY_MANAGERS),),)

    async def show(self, call: Call) -> Answer:
        """How the subject is authenticated."""
        return await self._answer(call, *_found(call))

    async def put(self, call: Call) -> Answer:
        """Keep values of the subject."""
        server, subject = _found(call)
        values = call.body_as(ValuesBody).values
        await self._parts(call).auth.put_values(server, subject, values, call.now)
        return await self._answer(call, server, subject)

    async def delete(self, call: Call) -> Answer:
        """Forget tokens and values of the subject."""
        server, subject = _found(call)
        await self._parts(call).auth.forget(server.id, subject)
        return await self._answer(call, server, subject)

    async def start(self, call: Call) -> Answer:
        """Begin an authorization in a browser."""
        server, subject = _found(call)
        url = await self._parts(call).auth.begin(
            server,
            subject,
            call.now,
            begun_by=call.principal.id,
            credential_id=call.principal.credential_id,
        )
        seconds = int(LIFETIME.total_seconds())
        return Answer(McpAuthStartAnswer(authorization_url=url, expires_in=seconds))

    async def _answer(self, call: Call, server: AuthOf, subject: str) -> Answer:
        found = await self._parts(call).auth.status(server, subject, call.now)
        return Answer(
            McpAuthAnswer(
                server=server.name,
                subject=subject,
                status="authenticated" if found.authenticated else "unauthenticated",
                method=found.method.value,
                missing=list(found.missing),
            )
        )


async def _subject(call: Call) -> str | None:
    """Whose credential it is about; None: there is nobody of that name.

    Raises:
        BadQuery: no user and no virtual account.
    """
    raw = call.query_as(SubjectQuery).subject
    if not raw or raw == call.principal.id:
        return call.principal.id
    if "@" in raw and ":" not in raw:
        collection, name = USERS, raw
    else:
        kind, name = split_id(raw)
        if kind not in (Kind.USER, Kind.VIRTUAL_ACCOUNT):
            raise BadQuery(
                f"`{raw[:80]}` is neither a user nor a virtual account",
                hint="give an e-mail, `user:<id>` or `virtualaccount:<name>`",
            )
        collection = USERS if kind is Kind.USER else VIRTUAL_ACCOUNTS
    stored = await find(call, collection, name)
    return id_of(stored.document) if stored is not None else None


def _found(call: Call) -> tuple[AuthOf, str]:
    """What the gates found.

    Raises:
        Missing: no such server, or no such subject.
    """
    server, subject = call.kept["server"], call.kept["subject"]
    if server is None or not isinstance(subject, str):
        raise missing(call)
    return cast(AuthOf, server), subject


def routes(parts: PartsOf) -> tuple[Route, ...]:
    """The rows of the route table. None writes a change-log entry, so none is one that `mutates`."""
    auth = _Auth(parts)
    return (
        Route(
            "GET",
            _PATH,
            "show_mcp_server_auth",
            "Show whether your requests to an MCP server carry a credential",
            _TAG,
            _ACTIONS,
            auth.show,
            McpAuthAnswer,
            gates=auth.gates,
            query=SubjectQuery,
        ),
        Route(
            "PUT",
            _PATH,
            "put_mcp_server_auth",
            "Give your values for the headers of an MCP server",
            _TAG,
            _ACTIONS,
            auth.put,
            McpAuthAnswer,
            gates=auth.gates,
            query=SubjectQuery,
            body=Body(model=ValuesBody, example={"values": {"API_KEY": "…"}}),
        ),
        Route(
            "DELETE",
            _PATH,
            "delete_mcp_server_auth",
            "Forget your values and tokens for an MCP server",
            _TAG,
            _ACTIONS,
            auth.delete,
            McpAuthAnswer,
            gates=auth.gates,
            query=SubjectQuery,
        ),
        Route(
            "POST",
            f"{_PATH}/start",
            "start_mcp_server_auth",
            "Begin to authorise the gateway at an MCP server in your name",
            _TAG,
            _ACTIONS,
            auth.start,
            McpAuthStartAnswer,
            gates=auth.gates,
            query=SubjectQuery,
            description="Open the address in a browser. It leads back to the gateway, which says whose "
            "authorization it is and asks before it keeps it.",
        ),
    )
