"""OAuth for MCP clients, without HTTP: clients, grants, codes, and the two kinds of tokens.

`proxy/oauth/` is its face on the wire.
"""
