"""The client of the MCP Python SDK gets its tokens here, unmodified, and refreshes them by itself."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.proxy.oauth.stack import CALLBACK, House


class Storage:
    """What the SDK keeps, in memory."""

    def __init__(self) -> None:
        self.tokens: list[OAuthToken] = []
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens[-1] if self.tokens else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Shows the token in the browser that the SDK opens, and says yes."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.asked = 0
        self._answer: dict[str, str] = {}

    async def open(self, url: str) -> None:
        self.asked += 1
        asked = parse_qs(urlsplit(url).query)
        page = await self._house.ask({name: values[0] for name, values in asked.items()})
        assert page.status == 200, page.text
        self._answer = (await self._house.decide(page, self._house.tokens["ann"])).sent_back

    async def callback(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            code=self._answer["code"], state=self._answer["state"], iss=self._answer["iss"]
        )


async def test_the_sdk_connects_and_refreshes_by_itself(house: House) -> None:
    person, storage = Person(house), Storage()
    endpoint = f"{house.url}/mcp/github"

    def provider() -> OAuthClientProvider:
        return OAuthClientProvider(
            endpoint,
            OAuthClientMetadata.model_validate({"redirect_uris": [CALLBACK], "client_name": "SDK"}),
            storage,
            person.open,
            person.callback,
        )

    async with httpx2.AsyncClient(auth=provider()) as client:
        got = await client.post(endpoint)
        assert got.status_code == 200, got.text
        assert got.json()["kind"] == "oauth"
        assert (await client.post(endpoint)).status_code == 200
    assert person.asked == 1
    assert storage.client is not None
    assert storage.client.client_secret is None

    # Another process of the client, later: it has the tokens, and has read no document of ours.
    house.now[0] += timedelta(minutes=11)
    later = provider()
    await later._initialize()
    later.context.token_expiry_time = 1.0
    async with httpx2.AsyncClient(auth=later) as client:
        got = await client.post(endpoint)
    assert got.status_code == 200, got.text
    assert len(storage.tokens) == 2
    assert person.asked == 1
