"""The gateway in front of the MCP peers: what the end-to-end tests with public clients share."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from tests.peers.mcp.servers import Server


def remote(server: Server, name: str, *users: str, **more: Any) -> Mapping[str, Any]:
    """The document that registers a peer; `users` may use all that it offers."""
    # The peers listen on the IPv4 loopback address only, and say `localhost` in what they print.
    return {
        "type": "mcp-server/remote",
        "name": name,
        "url": f"http://127.0.0.1:{server.port}/mcp",
        "collaborators": [{"subject": one, "role_id": "mcp-server-user"} for one in users],
        **more,
    }


async def register(url: str, redirect_uri: str) -> str:
    """The id of a new public client of the gateway's authorization server."""
    asked = {"client_name": "Probe", "redirect_uris": [redirect_uri]}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/register", json=asked) as answer,
    ):
        assert answer.status == 201, await answer.text()
        id: str = (await answer.json())["client_id"]
        return id


@dataclass(frozen=True, slots=True)
class Came:
    """What came back to the client once the person had decided."""

    url: URL
    status: int


async def consent(address: str, token: str, *, follow: bool = True) -> Came:
    """Does what a person does in a browser: reads the page, pastes a token, allows, and goes where that leads.

    Without `follow` the last step is left to the caller, who finds the code in the address.
    """
    jar = aiohttp.CookieJar(unsafe=True)  # a browser sends cookies to loopback addresses too
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(address) as page:
            text = await page.text()
            assert page.status == 200, text
        form = re.search(r'name="form" value="([^"]+)"', text)
        action = re.search(r'<form method="post" action="([^"]+)"', text)
        assert form is not None and action is not None, text
        target = URL(address)
        given = {"form": html.unescape(form[1]), "token": token, "decision": "allow"}
        async with browser.post(
            target.join(URL(html.unescape(action[1]))),
            data=given,
            headers={"Origin": str(target.origin())},
            allow_redirects=False,
        ) as sent:
            assert sent.status == 303, await sent.text()
            back = URL(sent.headers["Location"], encoded=True)
        if not follow:
            return Came(back, sent.status)
        async with browser.get(back) as reached:
            return Came(back, reached.status)
