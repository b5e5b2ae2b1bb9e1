"""OAuth on the wire: the gateway as protected resource and authorization server for MCP clients."""
