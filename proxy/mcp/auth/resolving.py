"""From a reference in an MCP server's document to its value, with an error that names the server only."""

from __future__ import annotations

from proxy.mcp.auth.ports import AuthOf, Texts
from proxy.providers.base import CredentialMissing
from proxy.secrets import SecretProblem

_SCHEMES = ("env:", "file:", "secret:")


def is_reference(text: str) -> bool:
    """Whether `text` stands for a value that is somewhere else."""
    return text.startswith(_SCHEMES)


async def resolve(texts: Texts, server: AuthOf, reference: str, origin: str) -> str:
    """What `reference` stands for, to be sent to `origin` and nowhere else.

    Raises:
        CredentialMissing: it does not resolve; the cause, for the log, names the reference.
    """
    try:
        return await texts.text(server.id, reference, frozenset({origin}))
    except SecretProblem as error:
        raise CredentialMissing(
            f"the credential of the MCP server `{server.name}` is not available",
            hint="an operator finds the cause in the gateway's log",
        ) from error


async def fixed(texts: Texts, server: AuthOf, text: str, origin: str) -> str:
    """What `text` stands for if it is a reference, else itself."""
    return await resolve(texts, server, text, origin) if is_reference(text) else text
