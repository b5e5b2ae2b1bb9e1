"""What the gateway shows an MCP server instead of the caller's token, which never goes there.

`server_auth.py` is the door; the caller's own credential is no input of anything here.
"""
