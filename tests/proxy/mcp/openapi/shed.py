"""A service that an OpenAPI document describes: neighbours lend each other tools. Served over loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from identity.principal import CredentialKind, Principal
from proxy.providers.base import Headers

ANN = Principal("user:u-ann", "pat-1", CredentialKind.PAT)
SECRET = "shed-secret-0123456789"

TEXT = """
openapi: 3.0.3
info: {title: The tool shed, version: "1.2"}
servers:
  - url: "{base}/api"
    variables:
      base: {default: "http://127.0.0.1:1"}
paths:
  /things:
    get:
      operationId: listThings
      summary: Lists things
      description: All that can be lent, filtered.
      parameters:
        - {name: kind, in: query, schema: {type: array, items: {type: string}}}
        - {name: tags, in: query, style: pipeDelimited, explode: false, schema: {type: array, items: {type: string}}}
        - {name: "filter", in: query, style: deepObject, explode: true, schema: {type: object}}
        - {$ref: "#/components/parameters/Limit"}
        - {name: X-Trace, in: header, schema: {type: string}}
        - {name: Authorization, in: header, required: true, schema: {type: string}}
      responses: {"200": {description: fine}}
    post:
      operationId: addThing
      requestBody:
        required: true
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Thing"}
      responses: {"201": {description: made}}
  /things/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string}}
    get: {operationId: get thing, responses: {}}
    put:
      operationId: put.thing
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Thing"}}}}
      responses: {}
    delete: {responses: {}}
  /old: {get: {operationId: old, deprecated: true, responses: {}}}
  /staff: {get: {operationId: staff, x-gatewarden-hidden: true, responses: {}}}
  /photo: {get: {operationId: photo, responses: {}}}
  /note: {get: {operationId: note, responses: {}}}
  /fails/{status}:
    get:
      operationId: fails
      parameters: [{name: status, in: path, required: true, schema: {type: integer}}]
      responses: {}
  /long: {get: {operationId: long, responses: {}}}
  /upload:
    post:
      operationId: upload
      requestBody: {required: true, content: {multipart/form-data: {schema: {type: object}}}}
      responses: {}
components:
  parameters:
    Limit: {name: limit, in: query, schema: {type: integer, minimum: 1, maximum: 100}}
  schemas:
    Thing:
      type: object
      required: [name, number]
      properties:
        number: {type: integer, readOnly: true}
        name: {type: string, minLength: 1, nullable: true}
        weight: {type: number, minimum: 0, exclusiveMinimum: true}
        parts: {type: array, items: {$ref: "#/components/schemas/Thing"}}
      additionalProperties: false
"""


@dataclass(frozen=True)
class Seen:
    """One request as it came off the wire; path and query are decoded here, once."""

    method: str
    raw: str
    segments: list[str]
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class Shed:
    base: str = ""
    seen: list[Seen] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        raw, _, query = request.raw_path.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        segments = [unquote(part) for part in raw.split("/")[1:]]
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, raw, segments, pairs, headers, body))
        match segments[1:]:
            case ["photo"]:
                return web.Response(body=b"\x89PNG\r\n\x1a\n\0", content_type="image/png")
            case ["note"]:
                token = headers.get("authorization", "nobody")
                return web.Response(text=f"called by {token}")
            case ["long"]:
                return web.Response(body=b"x" * (5 << 20), content_type="text/plain")
            case ["fails", status]:
                head = {"www-authenticate": "Basic", "location": "http://127.0.0.1:1/"}
                return web.Response(status=int(status), text="no: " + "y" * 9_000, headers=head)
            case ["openapi.yaml"]:
                return web.Response(text=TEXT, content_type="application/yaml")
        if request.method == "DELETE":
            return web.Response(status=204)
        if request.method == "GET" and len(segments) == 2:
            return web.json_response(["saw", "hammer"])
        return web.json_response({"method": request.method, "id": segments[-1]})


@asynccontextmanager
async def serving() -> AsyncIterator[Shed]:
    shed = Shed()
    app = web.Application(client_max_size=8 << 20)
    app.router.add_route("*", "/{rest:.*}", shed.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        shed.base = f"http://127.0.0.1:{port}/api"
        yield shed
    finally:
        await runner.cleanup()


async def nobody(principal: Principal, method: str, url: str, body: bytes) -> Headers:
    return []


async def somebody(principal: Principal, method: str, url: str, body: bytes) -> Headers:
    return [("authorization", f"Bearer {SECRET}")]


def document(**paths: Any) -> dict[str, Any]:
    """A small document of `paths` (`get_things={…}` is `GET /things`)."""
    made: dict[str, Any] = {}
    for name, value in paths.items():
        method, _, path = name.partition("_")
        made.setdefault("/" + path, {})[method] = value
    return {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": made}


def as_json(value: object) -> str:
    return json.dumps(value)
