"""An OpenAPI document as an MCP server: each operation is a tool, called through the guarded client.

`source` reads the text, `operations` finds the operations and names their tools, `schemas` writes what a
tool takes, `request` makes the call and `answer` its result; `server` puts them together.
"""
