"""Which addresses the gateway may connect to, checked at the moment it connects.

`Guard` is the rule, `GuardedResolver` checks what a name resolves to, `Dialer` dials only what was
checked: the resolver's answer is what gets dialled, so nothing changes between check and connect, and
the host name still serves for TLS and `Host`. It knows no provider and no HTTP; used by
`proxy/connections.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohappyeyeballs import start_connection
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from proxy.providers.base import UpstreamRefusedByGuard

P = TypeVar("P", bound=asyncio.Protocol)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA special-purpose registries (RFC 6890 and updates), spelled out: `is_global` of the standard
# library differs between Python versions and lets 6to4 through.
_REFUSED_V4: tuple[ipaddress.IPv4Network, ...] = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host (Linux connects 0.0.0.0 to loopback)
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT; 100.100.100.200 is a cloud's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host agent, on a public address
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the metadata service
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",  # reserved and broadcast
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network(
    "2000::/3"
)  # everything outside is internal, mapped or a translation
_REFUSED_V6: tuple[ipaddress.IPv6Network, ...] = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocols, Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
# Where an IPv4 address hides in an IPv6 one: (network, bits to shift right).
_EMBEDDED: tuple[tuple[ipaddress.IPv6Network, int], ...] = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)

_HOSTS = 1000  # names whose addresses are held
_RESOLVED = 10.0  # seconds that the addresses of a name are held
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)\Z")


class ForbiddenAddress(OSError):
    """Raised while dialling; `proxy/answer.py` turns it into `UpstreamRefusedByGuard`."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be dialled: public addresses, and the networks of `UPSTREAM__ALLOW_PRIVATE`."""

    allow: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> Guard:
        """A guard that also lets `networks` (`10.0.0.0/8`, `127.0.0.1`, `fd00::/8`) be upstreams.

        Raises:
            ValueError: one of them is no network.
        """
        return cls(tuple(ipaddress.ip_network(text) for text in networks))

    def allows(self, address: Address) -> bool:
        """Whether `address` may be dialled. An IPv4 address inside an IPv6 one is judged as well."""
        listed = any(
            address.version == network.version and address in network for network in self.allow
        )
        if isinstance(address, ipaddress.IPv4Address):
            return listed or not any(address in network for network in _REFUSED_V4)
        if not listed:
            return address in _GLOBAL_V6 and not any(address in net for net in _REFUSED_V6)
        # INVARIANT: allowing a translation prefix (NAT64) does not allow what lies behind it.
        for network, shift in _EMBEDDED:
            if address in network:
                inner = ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
                return self.allows(inner)
        return True

    def check_url(self, url: URL) -> None:
        """Checks what can be checked before a name is resolved.

        Raises:
            UpstreamRefusedByGuard: not http(s), a user name, no host, or a host that is an address
                written in a misleading way or refused.
        """
        if url.scheme not in ("http", "https"):
            raise UpstreamRefusedByGuard("an upstream address must be http or https")
        if url.raw_user is not None or url.raw_password is not None:
            raise UpstreamRefusedByGuard(
                "an upstream address must not hold a user name or password"
            )
        host = url.raw_host
        if not host or "%" in host:
            raise UpstreamRefusedByGuard("an upstream address needs a plain host")
        literal = _literal(host)
        if literal is not None and not self.allows(literal):
            raise _refused()

    def check_address(self, text: str) -> None:
        """Checks an address that is about to be dialled.

        Raises:
            ForbiddenAddress: it may not be.
        """
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            raise ForbiddenAddress("not an address") from None
        if not self.allows(address):
            raise ForbiddenAddress("the address is not one that may be an upstream")


def _refused() -> UpstreamRefusedByGuard:
    # The address itself is not named: the answer must not map the inside of the network.
    return UpstreamRefusedByGuard(
        "the upstream's address is internal and not allowed",
        hint="an operator may allow its network in `UPSTREAM__ALLOW_PRIVATE`",
    )


def _literal(host: str) -> Address | None:
    """The address that `host` is, or None for a name.

    Raises:
        UpstreamRefusedByGuard: an IPv4 address in decimal, octal, hex or short form (`127.1`), which
            resolvers and libraries read differently.
    """
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host.strip("[]"))
        except ValueError:
            raise UpstreamRefusedByGuard("the upstream's host is not an address") from None
    labels = host.rstrip(".").split(".")
    if not _NUMERIC_LABEL.match(labels[-1]):
        return None
    try:
        if host.endswith("."):
            raise ValueError
        return ipaddress.IPv4Address(host)
    except ValueError:
        raise UpstreamRefusedByGuard(
            "the upstream's host is an address in an unusual form",
            hint="write four decimal numbers, as in `192.0.2.1`",
        ) from None


class GuardedResolver(AbstractResolver):
    """Resolves a name and keeps only the addresses that may be dialled."""

    def __init__(self, guard: Guard, inner: AbstractResolver) -> None:
        self._guard = guard
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The checked addresses of `host`; every one that comes back may be dialled.

        Raises:
            ForbiddenAddress: none of them may.
        """
        found = await self._inner.resolve(host, port, family)
        kept: list[ResolveResult] = []
        refusal: ForbiddenAddress | None = None
        for item in found:
            try:
                self._guard.check_address(item["host"])
            except ForbiddenAddress as exc:
                refusal = exc
            else:
                kept.append(item)
        if kept or refusal is None:
            return kept
        raise refusal

    async def close(self) -> None:
        await self._inner.close()


@dataclass(slots=True)
class _Found:
    """The checked addresses of one host; held shortly, so that a burst asks the resolver once."""

    lock: asyncio.Lock
    addresses: list[ResolveResult]
    until: float = 0.0


class Dialer:
    """Opens connections, and only to what its guard allows.

    One for each loop. A name is looked up, each of its addresses is checked, and a checked address is
    what is dialled; the name itself still serves for TLS.
    """

    def __init__(
        self, guard: Guard, resolver: AbstractResolver, tls: Callable[[], ssl.SSLContext]
    ) -> None:
        self._guard = guard
        self._resolver = GuardedResolver(guard, resolver)
        self._tls = tls
        self._found: dict[tuple[str, int], _Found] = {}

    async def dial(
        self, protocol: Callable[[], P], host: str, port: int, *, tls: bool
    ) -> tuple[socket.socket, P]:
        """A connection with TLS done; the caller sets the time limit.

        Raises:
            ForbiddenAddress: the guard allows none of the addresses. OSError: none of them answers, or
                TLS fails (`ssl.SSLError`).
        """
        loop = asyncio.get_running_loop()
        infos = [_address_info(item) for item in await self._addresses(host, port)]
        try:
            sock = await start_connection(
                infos,
                happy_eyeballs_delay=0.25,  # RFC 8305 5: a dead address must not hold up a live one
                interleave=1,
                socket_factory=self._make_socket,
            )
        except BaseException:
            self._found.pop((host, port), None)  # the name may have moved
            raise
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = self._tls() if tls else None
        except BaseException:
            sock.close()
            raise
        # From here on the loop closes the socket, also when the handshake fails or is cancelled.
        _, made = await loop.create_connection(
            protocol,
            sock=sock,
            ssl=context,
            server_hostname=host.rstrip(".") if tls else None,
        )
        return sock, made

    async def _addresses(self, host: str, port: int) -> list[ResolveResult]:
        if _literal(host) is not None:
            version6 = ":" in host
            family = socket.AF_INET6 if version6 else socket.AF_INET
            return [
                ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)
            ]
        found = self._found.get((host, port))
        if found is None:
            if len(self._found) >= _HOSTS:
                self._found.clear()
            found = self._found[host, port] = _Found(asyncio.Lock(), [])
        async with found.lock:
            clock = asyncio.get_running_loop().time
            if found.until <= clock():
                found.addresses = await self._resolver.resolve(host, port)
                if not found.addresses:
                    raise OSError("the name has no address")
                found.until = clock() + _RESOLVED
            return found.addresses

    def _make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last check before a connection, whatever way the address came here."""
        family, kind, protocol, _, address = info
        self._guard.check_address(address[0])
        return socket.socket(family=family, type=kind, proto=protocol)

    async def close(self) -> None:
        await self._resolver.close()


def _address_info(item: ResolveResult) -> tuple[Any, ...]:
    """What `socket.getaddrinfo` would say of a resolved address."""
    family, host, port = item["family"], item["host"], item["port"]
    address = (host, port, 0, 0) if family == socket.AF_INET6 else (host, port)
    return family, socket.SOCK_STREAM, item["proto"], "", address
