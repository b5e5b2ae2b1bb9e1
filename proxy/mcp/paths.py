"""Which paths are MCP's: `/mcp` and what lies below it, but for the page that browsers come back to."""

from __future__ import annotations

PREFIX = "/mcp"
CALLBACK = "/mcp/oauth/callback"  # of the control plane


def is_mcp(target: str) -> bool:
    """Whether a request target, as it was sent, is one of MCP."""
    if not target.startswith(PREFIX):
        return False
    path = target.partition("?")[0]
    return path != CALLBACK and (path == PREFIX or path.startswith(f"{PREFIX}/"))
