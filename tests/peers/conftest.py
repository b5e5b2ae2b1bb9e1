"""The MCP peers, for the tests of the peers themselves."""

from tests.peers.mcp.fixtures import everything_server, node_peers, public_server

__all__ = ["everything_server", "node_peers", "public_server"]
