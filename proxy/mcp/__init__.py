"""MCP: one endpoint for each server, every method decided, lists that show what a call would allow."""
