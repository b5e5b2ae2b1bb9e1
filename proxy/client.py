"""The command line's client of the control API: synchronous, small, no dependency beyond the standard library.

URL and token are handed in (the command line reads `GATEWARDEN_URL` and `GATEWARDEN_TOKEN`). Every failure
is a `ClientError` that says what went wrong and how to mend it; the token is in no message and no `repr`.
Redirects are refused: a token goes to the address that it was given for and nowhere else.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from authz.errors import GatewardenError
from policies.errors import Problem
from proxy.api.collections import COLLECTIONS
from proxy.api.progress import NDJSON
from proxy.api.waiting import APPLIED, TOLD, WAITING

MAX_ANSWER = 64 * 1024 * 1024
Tell = Callable[[str, int, int], None]  # stage, done, of
_EVENTS = "text/event-stream"
_WHOLE_SECONDS = 180.0  # for the first page of what may be as large as the store
_LOOPBACK = ("localhost", "127.", "::1")


class ClientError(GatewardenError):
    """A call failed. `status` is 0 when there was no answer; `problems` are findings in documents."""

    code = "client_error"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        status: int = 0,
        request_id: str = "",
        decision_id: str = "",
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.status = status
        self.request_id = request_id
        self.decision_id = decision_id
        self.problems = problems


def findings_in(items: Iterable[Mapping[str, Any]]) -> tuple[Problem, ...]:
    """The findings of an answer; what a newer server says besides is left out. Raises: KeyError."""
    return tuple(
        Problem(
            str(item["file"]),
            int(item["line"]),
            int(item["column"]),
            str(item["code"]),
            str(item["message"]),
            str(item.get("hint", "")),
            "warning" if item.get("severity") == "warning" else "error",
            tuple(item.get("path", ())),
        )
        for item in items
    )


def _refusal(body: Mapping[str, Any], status: int) -> ClientError:
    """The error that a problem document stands for. Raises: KeyError, TypeError."""
    return ClientError(
        str(body["detail"]),
        hint=str(body.get("hint") or ""),
        code=str(body["code"]),
        status=status,
        request_id=str(body.get("request_id") or ""),
        decision_id=str(body.get("decision_id") or ""),
        problems=findings_in(body.get("problems") or ()),
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in 2xx: the JSON body and the headers by lower-case name."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def epoch(self) -> int:
        """The change-log position that the answer was decided at, or that a change made."""
        return int(self.headers.get("x-policy-epoch", "0"))

    @property
    def applied(self) -> tuple[str, str]:
        """After waiting: how many live processes decide by the change (`2/3`), and which do not yet."""
        return self.headers.get(APPLIED, ""), self.headers.get(WAITING, "")


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        fp.close()
        raise ClientError(
            f"the server answers with a redirect to `{newurl[:200]}`",
            hint="set GATEWARDEN_URL to the address that serves the API",
            code="redirected",
            status=code,
        )


@dataclass(slots=True)
class Client:
    """One server and one token."""

    url: str
    token: str = field(repr=False)
    timeout: float = 30.0  # seconds without progress
    wait: bool = False  # have each change answered once all live processes decide by it
    _opener: OpenerDirector = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ClientError: no usable URL, or no token."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(
                f"`{self.url[:200]}` is not the URL of a server",
                hint="set GATEWARDEN_URL, as http://127.0.0.1:8080",
                code="no_url",
            )
        if parts.username or parts.query or parts.fragment:
            raise ClientError("the URL holds more than an address", code="no_url")
        if not self.token or not self.token.isascii() or not self.token.isprintable():
            raise ClientError(
                "there is no usable token",
                hint="set GATEWARDEN_TOKEN; on the host: gatewarden token create",
                code="no_token",
            )
        self.url = self.url.rstrip("/")
        # A proxy of the environment must not see what goes to this very host.
        own = parts.hostname.startswith(_LOOPBACK)
        handlers = [_NoRedirect(), *([ProxyHandler({})] if own else [])]
        self._opener = build_opener(*handlers)

    # What the commands ask

    def whoami(self) -> Reply:
        """Who the token is."""
        return self.call("GET", "/whoami")

    def explain(
        self,
        action: str,
        resource: str,
        *,
        subject: str | None = None,
        context: Mapping[str, object] | None = None,
        at: str | None = None,
    ) -> Reply:
        """May `subject` (the caller itself if None) do `action` on `resource`, and why.

        `at` is an epoch or a time: what would have been answered then.
        """
        body: dict[str, object] = {"action": action, "resource": resource}
        if at:
            body["at"] = at
        if subject:
            body["subject"] = subject
        if context:
            body["context"] = dict(context)
        return self.call("POST", "/explain", body)

    def apply(
        self,
        manifests: Sequence[Mapping[str, Any]],
        *,
        dry_run: bool = False,
        source: str = "manual",
        prune: bool = False,
        comment: str = "",
        tell: Tell | None = None,
        **more: object,
    ) -> Reply:
        """Put documents, all or nothing; `dry_run` answers the plan.

        `tell` hears how far the server is; `more` are other switches of the call that are set.
        """
        return self.call(
            "PUT",
            "/apply",
            {
                "manifests": list(manifests),
                "dry_run": dry_run,
                "source": source,
                "prune": prune,
                "comment": comment,
                **{name: value for name, value in more.items() if value},
            },
            tell=tell,
        )

    def export(self) -> Iterator[dict[str, Any]]:
        """Every document that the token may read, as `{document, version, …}`."""
        for collection in COLLECTIONS:
            if not collection.fixed_name:
                yield from self.pages(f"/{collection.path}")
                continue
            try:
                yield self.call("GET", f"/{collection.path}").body
            except ClientError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def casbin(self, at: str = "") -> Iterator[dict[str, Any]]:
        """The pages of policy for a stock Casbin, now or as it was; the first may take its time."""
        asked = {"at": at} if at else {}
        patient = replace(self, timeout=max(self.timeout, _WHOLE_SECONDS))
        cursor = ""
        while True:
            query = {**asked, **({"cursor": cursor} if cursor else {})}
            body = patient.call("GET", "/export/casbin", query=query or None).body
            yield body
            cursor = body.get("next") or ""
            if not cursor:
                return

    def delete(
        self,
        collection: str,
        name: str,
        *,
        dry_run: bool = False,
        take_over: bool = False,
        cascade: bool = False,
        reassign_to: str = "",
    ) -> Reply:
        """Delete one document; the collection in singular or plural (`team`, `teams`).

        `reassign_to` and `cascade` say what becomes of what a team owns.
        """
        known = {item.path: item.path for item in COLLECTIONS}
        known |= {item.family: item.path for item in COLLECTIONS}
        path = known.get(collection)
        if path is None:
            raise ClientError(
                f"`{collection}` is no kind of document",
                hint="one of " + ", ".join(sorted(item.family for item in COLLECTIONS)),
                code="unknown_collection",
            )
        flags = {"dry_run": dry_run, "take_over": take_over, "cascade": cascade}
        query = {flag: "true" for flag, said in flags.items() if said}
        if reassign_to:
            query["reassign_to"] = reassign_to
        fixed = next(item.fixed_name for item in COLLECTIONS if item.path == path)
        whole = f"/{path}" if fixed else f"/{path}/{quote(name, safe='@')}"
        return self.call("DELETE", whole, query=query or None)

    def first_admin(self, email: str) -> Reply:
        """Take the offer of a new installation: the client's token is the one-time token of its host."""
        return self.call("POST", "/first-admin", {"token": self.token, "email": email})

    def tokens(self) -> Iterator[dict[str, Any]]:
        """The caller's own personal access tokens."""
        yield from self.pages("/personal-access-tokens")

    def create_token(
        self,
        name: str,
        *,
        email: str | None = None,
        expires: str | None = None,
        restrictions: Sequence[Mapping[str, Any]] | None = None,
    ) -> Reply:
        """A new personal access token: the caller's own, or that of the user with `email`."""
        body: dict[str, object] = {"name": name}
        if expires:
            body["expirationDate"] = expires
        if restrictions is not None:
            body["restrictions"] = list(restrictions)
        if email is None:
            return self.call("POST", "/personal-access-tokens", body)
        return self.call("POST", "/personal-access-tokens/for-user", {**body, "email": email})

    def revoke_token(self, token_id: str) -> Reply:
        """End one token."""
        return self.call("DELETE", f"/personal-access-tokens/{quote(token_id, safe='')}")

    # How

    def events(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Server-sent events as (name, data), until the server ends.

        Raises:
            ClientError: no connection, no events, or a status outside 2xx.
        """
        url = f"{self.url}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        request = Request(url)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Accept", f"{_EVENTS}, application/json;q=0.9")
        request.add_header("User-Agent", "gatewarden")
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                if response.headers.get_content_type() != _EVENTS:
                    raise self._not_ours(response.status)
                yield from self._events(response)
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            raise self._unreachable(error) from error

    def _events(self, response: HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
        """Only what our server writes: one line of data an event."""
        name = ""
        while line := response.readline(MAX_ANSWER + 1):
            field, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                try:
                    yield name, dict(json.loads(value))
                except (ValueError, TypeError) as error:
                    raise self._not_ours(response.status) from error

    def pages(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """The items of all pages of a list."""
        cursor = ""
        while True:
            asked = {**(query or {}), **({"cursor": cursor} if cursor else {})}
            body = self.call("GET", path, query=asked).body
            yield from body["data"]
            cursor = body.get("next") or ""
            if not cursor:
                return

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        tell: Tell | None = None,
    ) -> Reply:
        """One call; `path` is below `/api/v1`. With `tell` the server says how far it is meanwhile.

        Raises:
            ClientError: no connection, no JSON, or a status outside 2xx.
        """
        if self.wait and method != "GET":
            query = {**(query or {}), "wait": "applied"}
        url = f"{self.url}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        request = Request(url, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        accept = "application/json" if tell is None else f"{NDJSON}, application/json;q=0.9"
        request.add_header("Accept", accept)
        request.add_header("User-Agent", "gatewarden")
        if body is not None:
            request.data = json.dumps(body, ensure_ascii=False).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                if tell is not None and response.headers.get_content_type() == NDJSON:
                    return self._last_of(response, tell)
                return self._reply(response)
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except ssl.SSLError as error:
            raise self._unreachable(error) from error
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            raise self._unreachable(error) from error

    def _reply(self, response: HTTPResponse) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        raw = response.read(MAX_ANSWER + 1)
        if len(raw) > MAX_ANSWER:
            raise ClientError("the answer is too large", status=response.status)
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise self._not_ours(response.status) from error
        if not isinstance(body, dict):
            raise self._not_ours(response.status)
        return Reply(response.status, body, headers)

    def _last_of(self, response: HTTPResponse, tell: Tell) -> Reply:
        """The answer in the last of the lines that a long call sends; the others go to `tell`."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        while line := response.readline(MAX_ANSWER + 1):
            try:
                told = json.loads(line)
                if "progress" in told:
                    far = told["progress"]
                    tell(str(far["stage"]), int(far["done"]), int(far["of"]))
                elif "problem" in told:
                    raise _refusal(told["problem"], int(told["problem"]["status"]))
                elif "result" in told:
                    headers["x-policy-epoch"] = str(int(told["epoch"]))
                    headers |= {name: str(told[name]) for name in TOLD if name in told}
                    return Reply(int(told["status"]), dict(told["result"]), headers)
            except (ValueError, KeyError, TypeError) as error:
                raise self._not_ours(response.status) from error
        raise ClientError(
            "the connection ended before the answer",
            hint="it is not known whether the change was made; the same call again is safe",
            code="unexpected_answer",
            status=response.status,
        )

    def _refused(self, error: HTTPError) -> ClientError:
        try:
            return _refusal(json.loads(error.read(MAX_ANSWER)), error.code)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, HTTPException):
            return self._not_ours(error.code)

    def _not_ours(self, status: int) -> ClientError:
        return ClientError(
            f"`{self.url}` answers {status} in a form that is not Gatewarden's",
            hint="is GATEWARDEN_URL the address of the gateway, without a path?",
            code="unexpected_answer",
            status=status,
        )

    def _unreachable(self, error: Exception) -> ClientError:
        reason = getattr(error, "reason", None) or error
        return ClientError(
            f"`{self.url}` cannot be reached: {str(reason).lower()[:200] or type(reason).__name__}",
            hint="is the gateway running? check GATEWARDEN_URL",
            code="unreachable",
        )
