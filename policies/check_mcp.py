"""What is wrong with an MCP server: its addresses, its logins, its tools, its parts.

Addresses are held to the grammar of `check_accounts`; whether one may be called at all is decided by the
outbound guard at run time. Secrets are never repeated.
"""

from __future__ import annotations

import json
import re

from policies.check_accounts import address_problem, check_secret
from policies.documents import (
    Document,
    McpServer,
    OpenApiMcpServer,
    RemoteMcpServer,
    VirtualMcpServer,
)
from policies.loader import Located
from policies.mcp_servers import (
    SEPARATOR,
    HeaderAuth,
    HeaderName,
    InlineSpec,
    OAuth2Auth,
    RemoteSpec,
    SigV4Auth,
)
from policies.mentions import Mentions
from policies.positions import Path
from policies.secrets import placeholders_of

Doc = Located[Document]

MAX_SPEC = 900_000  # characters of an inline OpenAPI document: a stored document has its limit
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Which of the two kinds of documents a text says that it is; as JSON it may stand anywhere.
_VERSION = re.compile(r"""(?:^|[{,\s])["']?(openapi|swagger)["']?\s*:""")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
# Headers that are the connection's, the protocol's or a login's, and so not for a document to add.
_OWN_HEADERS = frozenset(
    {"accept", "connection", "content-length", "content-type", "expect", "host", "keep-alive"}
    | {"last-event-id", "te", "trailer", "transfer-encoding", "upgrade"}
)
_LOGIN_HEADERS = frozenset(
    {"api-key", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"}
)
_OWN_PARAMETERS = frozenset(
    {"client_id", "client_secret", "code", "code_verifier", "grant_type", "redirect_uri"}
    | {"refresh_token", "resource", "scope"}
)


def check_server(doc: Doc, server: McpServer, refs: Mentions) -> None:
    """Everything about one MCP server."""
    for index, grant in enumerate(server.collaborators):
        refs.subject(doc, ("collaborators", index, "subject"), grant.subject)
        at = ("collaborators", index, "role_id")
        refs.resource_role(doc, at, grant.role_id, f"mcp-server:{server.name}")
    match server:
        case RemoteMcpServer():
            _remote(doc, server, refs)
        case VirtualMcpServer():
            _virtual(doc, server, refs)
        case OpenApiMcpServer():
            _openapi(doc, server, refs)


# -- addresses ---------------------------------------------------------------------------------------


def _address(doc: Doc, path: Path, url: str, refs: Mentions, *, secret: bool = False) -> None:
    field = ".".join(map(str, path))
    problem = address_problem(url)
    if problem:
        refs.found.error(
            doc, path, "bad_address", f"`{field}` {problem}", "as `https://host[:port]/path`"
        )
    elif secret and url.lower().startswith("http:"):
        message = f"credentials go to `{field}` unencrypted"
        refs.found.warn(doc, path, "plain_http", message, "use https")


def _remote(doc: Doc, server: RemoteMcpServer, refs: Mentions) -> None:
    _address(doc, ("url",), server.url, refs, secret=server.auth_data is not None)
    tls = server.tls_settings
    if tls is not None and not tls.reject_unauthorized:
        refs.found.error(
            doc, ("tls_settings", "reject_unauthorized"), "wrong_value",
            "certificates are always checked",
            "give the authority of the server's certificate as `ca_cert`",
        )  # fmt: skip
    if tls is not None and tls.ca_cert is not None and _CERTIFICATE not in tls.ca_cert:
        message, hint = "`tls_settings.ca_cert` is no certificate", "paste it as PEM text"
        refs.found.error(doc, ("tls_settings", "ca_cert"), "wrong_value", message, hint)
    for name, value in server.additional_headers.items():
        _added_header(doc, name, value, refs)
    policy = server.tool_policy
    if policy is not None:
        both = sorted(set(policy.disabled_tools) & set(policy.enabled_tools))
        if both:
            refs.found.warn(
                doc, ("tool_policy",), "repeated",
                f"`{both[0][:80]}` is both disabled and enabled", "disabled wins; remove one",
            )  # fmt: skip
        for field in ("disabled_tools", "enabled_tools"):
            for index, tool in enumerate(getattr(policy, field)):
                _tool(doc, ("tool_policy", field, index), tool, refs)
    match server.auth_data:
        case HeaderAuth() as auth:
            _headers(doc, auth, refs)
        case OAuth2Auth() as auth:
            _oauth(doc, auth, refs)
        case SigV4Auth() as auth:
            _signed(doc, auth, refs)


def _tool(doc: Doc, path: Path, name: str, refs: Mentions) -> None:
    if SEPARATOR in name:
        message = f"a tool whose name holds `{SEPARATOR}` is never offered"
        refs.found.warn(doc, path, "never_offered", message, "it parts server and tool")


# -- logins ------------------------------------------------------------------------------------------


def _added_header(doc: Doc, name: HeaderName, value: str, refs: Mentions) -> None:
    path = ("additional_headers", name)
    folded = name.casefold()
    if folded in _LOGIN_HEADERS:
        message = f"`{name}` is a login, which this field does not keep secret"
        refs.found.error(doc, path, "wrong_value", message, "put it under `auth_data.headers`")
    elif _is_own(folded):
        message = f"`{name}` is set by the gateway"
        refs.found.error(doc, path, "wrong_value", message, "leave it out")
    elif _CONTROLS.search(value):
        message = f"`additional_headers.{name}` holds line breaks or controls"
        refs.found.error(doc, path, "wrong_value", message)


def _is_own(folded: str) -> bool:
    return folded in _OWN_HEADERS or folded.startswith(("mcp-", "proxy-", "sec-"))


def _headers(doc: Doc, auth: HeaderAuth, refs: Mentions) -> None:
    at: Path = ("auth_data", "headers")
    if not auth.headers:
        refs.found.warn(doc, at, "empty_list", "a login without headers is none")
    seen: set[str] = set()
    filled = False
    for name, value in auth.headers.items():
        folded = name.casefold()
        if folded in seen:
            refs.found.error(doc, at, "duplicate", f"the header `{name}` stands twice")
        seen.add(folded)
        if _is_own(folded):
            message = f"`{name}` is set by the gateway"
            refs.found.error(doc, (*at, name), "wrong_value", message, "leave it out")
        if auth.auth_level == "per_user" and placeholders_of(value):
            filled = True
            continue
        if placeholders_of(value):
            refs.found.error(
                doc, (*at, name), "wrong_value", f"`auth_data.headers.{name}` is to be filled in",
                "only `auth_level: per_user` fills `{{KEY}}`",
            )  # fmt: skip
            continue
        check_secret(doc, f"headers.{name}", value, refs, (*at, name))
    if auth.auth_level == "per_user" and not filled:
        refs.found.error(
            doc, at, "wrong_value", "no header has a place for what each user gives",
            "write it as `{{KEY}}`, as in `Authorization: Bearer {{TOKEN}}`",
        )  # fmt: skip


def _oauth(doc: Doc, auth: OAuth2Auth, refs: Mentions) -> None:
    at: Path = ("auth_data",)
    has_secret = auth.client_secret is not None
    _address(doc, (*at, "token_url"), auth.token_url, refs, secret=has_secret)
    for field in ("authorization_url", "registration_url"):
        url = getattr(auth, field)
        if url is not None:
            _address(doc, (*at, field), url, refs)
    if auth.client_secret is not None:
        check_secret(doc, "client_secret", auth.client_secret, refs)
    per_user = auth.grant_type == "authorization_code"
    if per_user and auth.authorization_url is None:
        message = "`grant_type: authorization_code` needs `authorization_url`"
        refs.found.error(doc, at, "missing_field", message, "it is where users are sent to agree")
    if auth.client_id is None and (not per_user or auth.registration_url is None):
        hint = "or `registration_url`, where the gateway registers itself" if per_user else ""
        refs.found.error(doc, at, "missing_field", "`auth_data.client_id` is missing", hint)
    if not per_user and auth.client_secret is None:
        message = "`grant_type: client_credentials` needs `client_secret`"
        refs.found.error(doc, at, "missing_field", message)
    for index, scope in enumerate(auth.scopes):
        if not _SCOPE.match(scope):
            message = f"`{scope[:80]}` is not one scope"
            hint = "one entry for each, without blanks and quotes"
            refs.found.error(doc, (*at, "scopes", index), "wrong_value", message, hint)
    for name in auth.additional_token_params:
        if name in _OWN_PARAMETERS:
            message = f"the parameter `{name}` is the protocol's own"
            place = (*at, "additional_token_params", name)
            refs.found.error(doc, place, "wrong_value", message, "it has a field of its own")


def _signed(doc: Doc, auth: SigV4Auth, refs: Mentions) -> None:
    check_secret(doc, "secret_access_key", auth.secret_access_key, refs)
    if auth.session_token is not None:
        check_secret(doc, "session_token", auth.session_token, refs)
    if re.match(r"(env|file|secret):", auth.access_key_id):
        check_secret(doc, "access_key_id", auth.access_key_id, refs)
    for field, example in (("region", "us-east-1"), ("service", "bedrock-agentcore")):
        if not _LABEL.match(getattr(auth, field)):
            message = f"`auth_data.{field}` is not a {field}"
            refs.found.error(doc, ("auth_data", field), "wrong_value", message, f"as `{example}`")


# -- compositions and services -----------------------------------------------------------------------


def _virtual(doc: Doc, server: VirtualMcpServer, refs: Mentions) -> None:
    if not server.servers:
        refs.found.warn(
            doc, ("servers",), "empty_list", "a virtual server without servers is empty"
        )
    seen: set[str] = set()
    for index, part in enumerate(server.servers):
        at: Path = ("servers", index, "name")
        if part.name in seen:
            message = f"the server `{part.name}` stands twice"
            refs.found.error(doc, at, "duplicate", message, "name all its tools in one place")
        seen.add(part.name)
        if not refs.thing(doc, at, "mcp-server", part.name):
            continue
        if refs.things.is_virtual_server(part.name):
            message = f"`{part.name}` is a virtual server itself"
            hint = "name the servers that it is made of"
            refs.found.error(doc, at, "invalid_target", message, hint)
            continue
        if part.enabled_tools is not None and not part.enabled_tools:
            message = f"no tool of `{part.name}` is taken"
            hint = "leave the field out to take all"
            refs.found.warn(doc, ("servers", index, "enabled_tools"), "empty_list", message, hint)
        offers = refs.things.offers(part.name)
        known = None if offers is None else {one.name for one in offers if one.kind == "tool"}
        for place, tool in enumerate(part.enabled_tools or ()):
            path = ("servers", index, "enabled_tools", place)
            _tool(doc, path, tool, refs)
            if known is not None and tool not in known:
                message = f"the MCP server `{part.name}` has no tool `{tool[:80]}` at present"
                refs.found.warn(doc, path, "not_offered", message)


def _openapi(doc: Doc, server: OpenApiMcpServer, refs: Mentions) -> None:
    _address(doc, ("url",), server.url, refs, secret=server.auth_data is not None)
    source = server.openapi_spec_source
    if isinstance(source, RemoteSpec):
        _address(doc, ("openapi_spec_source", "url"), source.url, refs)
    elif isinstance(source, InlineSpec):
        _spec(doc, source, refs)
    if server.auth_data is not None:
        _headers(doc, server.auth_data, refs)
    if not server.enable_all_tools and not server.tool_settings:
        hint = "set `enable_all_tools`, or name operations under `tool_settings`"
        refs.found.warn(doc, (), "empty_list", f"`{server.name}` offers no tool", hint)
    operations: set[tuple[str, str]] = set()
    names: set[str] = set()
    for index, one in enumerate(server.tool_settings):
        at: Path = ("tool_settings", index)
        if not one.path.startswith("/"):
            refs.found.error(doc, (*at, "path"), "wrong_value", "a path starts with `/`")
        if (one.method, one.path) in operations:
            message = f"the operation `{one.method} {one.path[:80]}` stands twice"
            refs.found.error(doc, at, "duplicate", message)
        operations.add((one.method, one.path))
        if one.name is not None:
            if one.name in names:
                message = f"the tool `{one.name[:80]}` stands twice"
                refs.found.error(doc, (*at, "name"), "duplicate", message)
            names.add(one.name)
            _tool(doc, (*at, "name"), one.name, refs)


def _spec(doc: Doc, source: InlineSpec, refs: Mentions) -> None:
    """Whether an inline document can be one at all; what its operations are is found at run time."""
    at: Path = ("openapi_spec_source", "spec")
    hint = "paste the OpenAPI document, as text or as a mapping"
    if isinstance(source.spec, str):
        if len(source.spec) > MAX_SPEC:
            message = f"an inline document has at most {MAX_SPEC} characters"
            refs.found.error(doc, at, "too_large", message, "use `type: remote`")
            return
        fields = set(_VERSION.findall(source.spec))
    else:
        if len(json.dumps(source.spec, default=str)) > MAX_SPEC:
            message = f"an inline document has at most {MAX_SPEC} characters"
            refs.found.error(doc, at, "too_large", message, "use `type: remote`")
        fields = set(source.spec)
    if not fields & {"openapi", "swagger"}:
        refs.found.error(doc, at, "wrong_value", "it does not say `openapi: 3.…`", hint)
    elif "openapi" not in fields:
        message = "Swagger 2 documents are not supported"
        refs.found.error(doc, at, "unsupported", message, "convert it to OpenAPI 3")
