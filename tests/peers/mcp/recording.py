"""Writes down every request that a server gets, so that a test can say what never arrived there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; header names are in lower case, in their order."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: str

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


def received(file: Path) -> list[Received]:
    """All requests that a server wrote down so far."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        fields = json.loads(line)
        headers = [(name, value) for name, value in fields["headers"]]
        found.append(Received(fields["method"], fields["path"], headers, fields["body"]))
    return found


class Recorder:
    """An application that writes each request to a file before the one behind it answers."""

    def __init__(self, app: ASGIApp, file: Path) -> None:
        self._app = app
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
        path = scope["path"] + (
            "?" + scope["query_string"].decode() if scope["query_string"] else ""
        )
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
        line = {"method": scope["method"], "path": path, "headers": headers}
        with self._file.open("a") as file:
            file.write(json.dumps({**line, "body": body.decode("utf-8", "replace")}) + "\n")

        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)
