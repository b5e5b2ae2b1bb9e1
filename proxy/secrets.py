"""A document's credential: from a reference in a provider account or MCP server to the value that is sent.

`env:NAME` under a fixed prefix or from a fixed list, `file:name` in one fixed folder, `secret:<id>` through
the store's unsealer. Values live in memory only, per account or server, and go when its document
changes. Nothing here is ever logged: errors name the account, their cause the reference, never a value.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from policies.documents import ApiKeyAuth
from proxy.providers.base import ApiKey, Auth, AwsKeys, CredentialMissing, Secret, Upstream

PREFIX = "GATEWARDEN_SECRET_"
FILE_SECONDS = 10.0  # a mounted secret that was rotated is read again after this
MAX_ACCOUNTS = 4096
MAX_VALUE = 16 * 1024

# A well-known variable goes only to the provider that it belongs to: else whoever may write one provider
# account could send another's key to a host of his own. `NAME=https://host` in the settings overrides.
HOMES: Mapping[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ("https://api.openai.com", "https://*.api.openai.com"),
    "ANTHROPIC_API_KEY": ("https://api.anthropic.com",),
    "GEMINI_API_KEY": ("https://generativelanguage.googleapis.com",),
    "AZURE_OPENAI_API_KEY": (
        "https://*.openai.azure.com",
        "https://*.cognitiveservices.azure.com",
        "https://*.services.ai.azure.com",
    ),
}
_LOOPBACK = re.compile(r"127\.[0-9.]+\Z|localhost\Z|::1\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})*\Z")
_VALUE = re.compile(r"[\x21-\x7e]+\Z")
_TEXT = re.compile(r"[\x20-\x7e]+\Z")  # a whole header value, as `Bearer …`
_KEY_ID = re.compile(r"[A-Z0-9]{16,128}\Z")

Unseal = Callable[[str], Awaitable[str]]


class SecretProblem(Exception):
    """Why a reference does not resolve; for the log, the cause of the public error. Holds no value."""


@dataclass(frozen=True, slots=True)
class SecretRules:
    """What references may name: fixed in the settings, out of reach of documents."""

    prefix: str = PREFIX
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> origins; () = any
    folder: Path | None = None

    @classmethod
    def of(cls, names: Iterable[str] = (), folder: Path | None = None) -> SecretRules:
        """Rules from settings: each name is `NAME` or `NAME=https://host`.

        A name given several times may go to each of its origins; `NAME=*` may go anywhere.

        Raises:
            ValueError: a name is no name of a variable.
        """
        found: dict[str, tuple[str, ...]] = {}
        for item in names:
            name, _, origin = item.partition("=")
            if not _NAME.match(name):
                raise ValueError(f"`{name[:80]}` is no name of an environment variable")
            if origin == "*":
                found[name] = ()
            elif origin:
                found[name] = (*found.get(name, ()), origin.rstrip("/"))
            else:
                found[name] = HOMES.get(name, ())
        return cls(names=found, folder=folder)


@dataclass(frozen=True, slots=True)
class _Text:
    value: str = field(repr=False)
    until: float | None


@dataclass(slots=True)
class _Held:
    auth: Auth
    origins: frozenset[str]
    secret: Secret = field(repr=False)
    until: float | None  # loop time after which it is read again


class Secrets:
    """Resolves and holds the credentials of provider accounts."""

    def __init__(
        self,
        rules: SecretRules,
        *,
        environ: Mapping[str, str],
        unseal: Unseal | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._rules = rules
        self._environ = environ
        self._unseal = unseal
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._held: dict[str, _Held] = {}
        self._texts: dict[tuple[str, str, frozenset[str]], _Text] = {}
        self._forgets = 0

    def __repr__(self) -> str:
        return f"<Secrets of {len(self._held)} accounts>"

    def forget(self, account: str) -> None:
        """Drops what is held for `account` (or an MCP server's id); called at each change of its document."""
        self._held.pop(account, None)
        for key in [key for key in self._texts if key[0] == account]:
            del self._texts[key]
        self._forgets += 1

    async def warm(self, upstreams: Iterable[Upstream]) -> list[str]:
        """Resolves ahead, so that no request waits for the store; names the accounts that failed."""
        failed: list[str] = []
        for upstream in upstreams:
            try:
                await self.resolve(upstream)
            except CredentialMissing:
                if upstream.account not in failed:
                    failed.append(upstream.account)
        return failed

    def held(self, upstream: Upstream) -> Secret | None:
        """The credential of the upstream's account if it is here; None: `resolve` has to be asked."""
        auth = upstream.auth
        held = self._held.get(upstream.account)
        # INVARIANT: a held value serves only the address and the reference that it was resolved for.
        if (
            held is not None
            and (held.auth is auth or held.auth == auth)
            and held.origins == upstream.origins
            and (held.until is None or self._clock() < held.until)
        ):
            return held.secret
        return None

    async def resolve(self, upstream: Upstream) -> Secret | None:
        """The credential of the upstream's account, or None if the document has none.

        Raises:
            CredentialMissing: it does not resolve. The public text names the account only.
        """
        auth = upstream.auth
        if auth is None:
            return None
        held = self.held(upstream)
        if held is not None:
            return held
        before = self._forgets
        try:
            secret = await self._secret(auth, upstream.origins)
        except SecretProblem as exc:
            raise CredentialMissing(
                f"the credential of the provider account `{upstream.account_name}` is not available",
                hint="an operator finds the cause in the gateway's log",
            ) from exc
        if before == self._forgets:  # else the document may have changed meanwhile: do not hold it
            self._hold(upstream.account, auth, upstream.origins, secret)
        return secret

    async def text(self, owner: str, reference: str, origins: frozenset[str]) -> str:
        """What one reference in the document of `owner` (an MCP server's id) stands for.

        It may be a whole header value, so unlike a key it may hold spaces. Held as keys are, and only for
        the addresses that it was resolved for.

        Raises:
            SecretProblem: it does not resolve; for the log only.
        """
        key = (owner, reference, origins)
        held = self._texts.get(key)
        if held is not None and (held.until is None or self._clock() < held.until):
            return held.value
        before = self._forgets
        value = await self._value(reference, origins, _TEXT)
        if before == self._forgets:
            while len(self._texts) >= MAX_ACCOUNTS and key not in self._texts:
                del self._texts[next(iter(self._texts))]
            until = self._clock() + FILE_SECONDS if reference.startswith("file:") else None
            self._texts[key] = _Text(value, until)
        return value

    def _hold(self, account: str, auth: Auth, origins: frozenset[str], secret: Secret) -> None:
        while len(self._held) >= MAX_ACCOUNTS and account not in self._held:
            del self._held[next(iter(self._held))]
        until = self._clock() + FILE_SECONDS if _reads_files(auth) else None
        self._held[account] = _Held(auth, origins, secret, until)

    async def _secret(self, auth: Auth, origins: frozenset[str]) -> Secret:
        if isinstance(auth, ApiKeyAuth):
            return ApiKey(await self._value(auth.api_key, origins))
        key_id = auth.access_key_id
        if not _KEY_ID.match(key_id):  # an access key id is no secret and may stand in the document
            key_id = await self._value(key_id, origins)
        token = auth.session_token
        return AwsKeys(
            key_id,
            await self._value(auth.secret_access_key, origins),
            None if token is None else await self._value(token, origins),
        )

    async def _value(
        self, reference: str, origins: frozenset[str], form: re.Pattern[str] = _VALUE
    ) -> str:
        scheme, colon, name = reference.partition(":")
        if not colon:
            raise SecretProblem("the document holds no reference")
        if scheme == "env":
            value = self._from_environment(name, origins)
        elif scheme == "file":
            value = await asyncio.to_thread(self._from_file, name)
        elif scheme == "secret":
            value = await self._from_store(reference)
        else:
            raise SecretProblem("the document holds no reference")
        value = value.strip()
        # Anything else would break, or split, a header line.
        if not form.match(value) or len(value) > MAX_VALUE:
            raise SecretProblem(f"`{scheme}:{name}` is empty or cannot stand in a header")
        return value

    def _from_environment(self, name: str, origins: frozenset[str]) -> str:
        rules = self._rules
        allowed = rules.names.get(name)
        if not _NAME.match(name) or (allowed is None and not name.startswith(rules.prefix)):
            raise SecretProblem(
                f"`env:{name[:80]}` is neither under `{rules.prefix}` nor listed in the settings"
            )
        if allowed:
            for origin in origins:
                if not any(_matches(origin, pattern) for pattern in allowed):
                    raise SecretProblem(f"`env:{name}` must not go to `{origin}`")
        value = self._environ.get(name)
        if value is None:
            raise SecretProblem(f"`env:{name}` is not set")
        return value

    def _from_file(self, name: str) -> str:
        folder = self._rules.folder
        if folder is None:
            raise SecretProblem("the settings name no folder for `file:` references")
        if not _FILE.match(name):
            raise SecretProblem("a `file:` reference is a plain name inside the folder")
        try:
            root = folder.resolve(strict=True)
            # Mounted secrets are symbolic links inside the folder: legal as long as they stay in it.
            path = (root / name).resolve(strict=True)
            if not path.is_relative_to(root):
                raise SecretProblem(f"`file:{name}` leads out of the folder")
            # The resolved path has no links left; O_NOFOLLOW keeps it so, O_NONBLOCK passes by a FIFO.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise SecretProblem(f"`file:{name}` is not a file")
                return stream.read(MAX_VALUE + 2).decode("utf-8")
        except (OSError, RuntimeError, UnicodeDecodeError) as exc:
            raise SecretProblem(f"`file:{name}` cannot be read: {type(exc).__name__}") from None

    async def _from_store(self, reference: str) -> str:
        if self._unseal is None:
            raise SecretProblem("there is no store to unseal from")
        try:
            return await self._unseal(reference)
        except Exception as exc:
            # The cause is cut: an unsealer's error may quote what it worked on.
            raise SecretProblem(f"`{reference}` cannot be unsealed: {type(exc).__name__}") from None


def _reads_files(auth: Auth) -> bool:
    if isinstance(auth, ApiKeyAuth):
        return auth.api_key.startswith("file:")
    values = (auth.access_key_id, auth.secret_access_key, auth.session_token or "")
    return any(value.startswith("file:") for value in values)


def _matches(origin: str, pattern: str) -> bool:
    """Whether `origin` is `pattern`, or a host below `https://*.…`; this very machine always is."""
    url = URL(origin)
    if _LOOPBACK.match(url.host or ""):
        return True
    scheme, _, host = pattern.partition("://")
    if not host.startswith("*."):
        return origin == pattern
    return (
        url.scheme == scheme
        and url.port == URL(f"{scheme}://x").port
        and (url.host or "").endswith(host[1:])
    )
