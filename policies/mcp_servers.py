"""The MCP servers: where one is, how it is called, which of its tools are offered, and who may use it.

A virtual server is one too, whose tools stand for those of others. What a server really offers is found by
asking it (`mcp_catalogue`). Imported through `documents.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from policies.parts import Collaborator, Document, Name, OwnedBy, Part, Text

# `__` parts server and tool where one endpoint offers them all, so no server's name may hold it, or end so
# that the parting moves.
SEPARATOR = "__"
MAX_SERVER_NAME = 40

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")]
HeaderValue = Annotated[str, StringConstraints(max_length=8192)]
Url = Annotated[str, StringConstraints(max_length=2048)]


class TlsSettings(Part):
    """`ca_cert` is PEM text: the authority that the server's certificate is checked against."""

    reject_unauthorized: bool = True
    ca_cert: Annotated[str, StringConstraints(max_length=65536)] | None = None


class ToolPolicy(Part):
    """Which tools are offered. Prompts and resources follow `enable_tools_by_default` alone."""

    enable_tools_by_default: bool = True
    disabled_tools: tuple[ToolName, ...] = ()
    enabled_tools: tuple[ToolName, ...] = ()


class ToolMetadata(Part):
    """What is said of a tool in place of what the server says."""

    description: Annotated[str, StringConstraints(max_length=4096)] | None = None


class HeaderAuth(Part):
    """Fixed headers. Each value is a reference or the secret on the way in; with `auth_level: per_user` it
    may hold `{{KEY}}`, filled with what each user gave.
    """

    type: Literal["header"] = "header"
    headers: Mapping[HeaderName, HeaderValue] = Field(repr=False)
    auth_level: Literal["global", "per_user"] = "global"


class OAuth2Auth(Part):
    """OAuth 2.1: each user's own tokens (`authorization_code`), or the gateway's (`client_credentials`)."""

    type: Literal["oauth2"] = "oauth2"
    grant_type: Literal["authorization_code", "client_credentials"] = "authorization_code"
    authorization_url: Url | None = None
    token_url: Url
    client_id: Annotated[str, StringConstraints(max_length=2048)] | None = None
    client_secret: str | None = Field(default=None, repr=False)
    registration_url: Url | None = None
    scopes: tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...] = ()
    include_resource: bool = True
    additional_token_params: Mapping[str, Text] = Field(default_factory=dict)


class SigV4Auth(Part):
    """Requests signed for AWS. Keys are references or values on the way in; an id is no secret."""

    type: Literal["aws-sigv4"] = "aws-sigv4"
    access_key_id: str
    secret_access_key: str = Field(repr=False)
    session_token: str | None = Field(default=None, repr=False)
    region: str
    service: str


McpAuth = Annotated[HeaderAuth | OAuth2Auth | SigV4Auth, Field(discriminator="type")]


class McpServer(Document):
    """What every MCP server has."""

    name: Name
    display_name: Text | None = None
    description: Text | None = None
    collaborators: tuple[Collaborator, ...] = ()
    owned_by: OwnedBy | None = Field(default=None, alias="ownedBy")
    tags: Mapping[str, str] = Field(default_factory=dict)
    family: ClassVar[str] = "mcp-server"


class RemoteMcpServer(McpServer):
    """A server at an address. Without `auth_data` it is called without credentials."""

    type: Literal["mcp-server/remote"] = "mcp-server/remote"
    url: Url
    tls_settings: TlsSettings | None = None
    tool_policy: ToolPolicy | None = None
    tool_metadata: Mapping[ToolName, ToolMetadata] = Field(default_factory=dict)
    auth_data: McpAuth | None = None
    additional_headers: Mapping[HeaderName, HeaderValue] = Field(default_factory=dict)


class VirtualPart(Part):
    """A server of a composition: all its tools, or those that are named (none, if the list is empty)."""

    name: Name
    enabled_tools: tuple[ToolName, ...] | None = None


class VirtualMcpServer(McpServer):
    """Tools of several servers under one name, with grants of their own."""

    type: Literal["mcp-server/virtual"] = "mcp-server/virtual"
    servers: tuple[VirtualPart, ...]
    best_effort_mode: bool = False


class InlineSpec(Part):
    """The OpenAPI document itself, as text (JSON or YAML) or as a mapping."""

    type: Literal["inline"] = "inline"
    spec: str | Mapping[str, Any]


class RemoteSpec(Part):
    """Where the OpenAPI document is fetched from."""

    type: Literal["remote"] = "remote"
    url: Url


SpecSource = Annotated[InlineSpec | RemoteSpec, Field(discriminator="type")]


class ToolSetting(Part):
    """An operation of the OpenAPI document that is offered, and what it is called there."""

    method: Literal["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"]
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    name: ToolName | None = None
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None


class OpenApiMcpServer(McpServer):
    """The operations of an HTTP service as tools. `url` is where the service is."""

    type: Literal["mcp-server/openapi"] = "mcp-server/openapi"
    url: Url
    openapi_spec_source: SpecSource
    enable_all_tools: bool = False
    tool_settings: tuple[ToolSetting, ...] = ()
    auth_data: HeaderAuth | None = None


class EchoMcpServer(McpServer):
    """Built in: three tools, a prompt and a resource, for demos and tests."""

    type: Literal["mcp-server/echo"] = "mcp-server/echo"


MCP_TYPES: Mapping[str, type[McpServer]] = {
    "mcp-server/remote": RemoteMcpServer,
    "mcp-server/virtual": VirtualMcpServer,
    "mcp-server/openapi": OpenApiMcpServer,
    "mcp-server/echo": EchoMcpServer,
}
AnyMcpServer = Annotated[
    RemoteMcpServer | VirtualMcpServer | OpenApiMcpServer | EchoMcpServer,
    Field(discriminator="type"),
]


def policy_of(server: Document) -> ToolPolicy:
    """Which tools of a server are offered; where nothing is said, all."""
    said = server.tool_policy if isinstance(server, RemoteMcpServer) else None
    return said if said is not None else ToolPolicy()
