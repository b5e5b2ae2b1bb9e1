"""Which addresses may be dialled (docs/attacks.md B3, B4, B8)."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.guard import ForbiddenAddress, Guard, GuardedResolver
from proxy.providers.base import UpstreamRefusedByGuard

REFUSED = [
    # this host, loopback
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "::", "::1",
    # private, shared, unique local
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd00:ec2::254",
    # link-local, metadata services, host agents
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fe80::1",
    # site-local, multicast, reserved, broadcast, documentation, benchmarking
    "fec0::1", "224.0.0.1", "239.255.255.255", "ff02::1", "240.0.0.1", "255.255.255.255",
    "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "2001:db8::1", "3fff::1", "100::1",
    # IPv4 inside IPv6: mapped, compatible, 6to4, NAT64 (both prefixes), Teredo, ORCHID
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "2002:7f00:1::", "2002:808:808::",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2001::1", "2001:20::1", "5f00::1",
    # relays
    "192.88.99.1",
]  # fmt: skip
ALLOWED = ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1",
           "169.253.0.1", "192.169.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
           "2001:4860:4860::8888"]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_an_internal_address_is_refused(text: str) -> None:
    assert not Guard().allows(ipaddress.ip_address(text))
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(UpstreamRefusedByGuard) as caught:
        Guard().check_url(URL(f"https://{host}/v1"))
    assert text not in caught.value.message, "an answer must not map the inside"


@pytest.mark.parametrize("text", ALLOWED)
def test_a_public_address_is_allowed(text: str) -> None:
    assert Guard().allows(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host",
    ["2130706433", "017700000001", "0x7f000001", "0x7f.0.0.1", "127.1", "127.0.1", "0177.0.0.1",
     "127.0.0.1.", "0", "0x", "1.1.1.1.1", "08.08.08.08", "134744072", "evil.0x7f", "evil.1"],
)  # fmt: skip
def test_an_address_in_another_form_is_refused_even_if_it_is_public(host: str) -> None:
    guard = Guard.of(["0.0.0.0/0"])
    with pytest.raises(UpstreamRefusedByGuard):
        guard.check_url(URL.build(scheme="http", authority=host, path="/", encoded=True))


def test_digits_of_other_alphabets_are_the_same_digits() -> None:
    with pytest.raises(UpstreamRefusedByGuard):
        Guard().check_url(URL("http://\uff11\uff12\uff17.0.0.1/"))


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "file:///etc/passwd", "gopher://a.example/", "//a.example/", "/v1",
     "https://user@a.example/", "https://user:pw@a.example/", "https://:pw@a.example/",
     "http://[fe80::1%25eth0]/"],
)  # fmt: skip
def test_an_address_that_is_not_plain_http_is_refused(url: str) -> None:
    with pytest.raises(UpstreamRefusedByGuard):
        Guard().check_url(URL(url))


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://8.8.8.8:81/", "https://x/"])
def test_a_plain_address_passes(url: str) -> None:
    Guard().check_url(URL(url))


def test_a_listed_network_is_allowed_and_nothing_beside_it() -> None:
    # docs/attacks.md B8: cluster-local upstreams are the operator's choice
    guard = Guard.of(["10.1.0.0/16", "fd00:1::/32", "127.0.0.1"])
    for text in ("10.1.2.3", "fd00:1::5", "127.0.0.1", "8.8.8.8"):
        assert guard.allows(ipaddress.ip_address(text))
    for text in ("10.2.0.1", "fd00:2::5", "127.0.0.2", "::1", "::ffff:10.2.0.1"):
        assert not guard.allows(ipaddress.ip_address(text))


def test_allowing_a_translation_prefix_does_not_allow_what_lies_behind_it() -> None:
    guard = Guard.of(["64:ff9b::/96", "2002::/16", "::ffff:0:0/96"])
    for text in ("64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"):
        assert guard.allows(ipaddress.ip_address(text))
    for text in ("64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "::ffff:10.0.0.1"):
        assert not guard.allows(ipaddress.ip_address(text))


def test_a_wrong_network_in_the_settings_is_an_error() -> None:
    with pytest.raises(ValueError, match="10"):
        Guard.of(["10.0.0.1/8"])


@given(number=st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_what_the_standard_library_calls_private_is_never_allowed(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if not address.is_global or address.is_multicast or address.is_reserved:
        # 192.0.0.9 and .10 are global by registry, and refused here all the same
        assert not Guard().allows(address)


@given(number=st.integers(0, 2**128 - 1))
@settings(max_examples=300)
def test_no_internal_ipv6_address_is_allowed(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    if not address.is_global or address.is_multicast or address.sixtofour or address.is_site_local:
        assert not Guard().allows(address)


class Answers(AbstractResolver):
    """A resolver that answers from a list, a new answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=text, port=port,
                family=socket.AF_INET6 if ":" in text else socket.AF_INET,
                proto=0, flags=socket.AI_NUMERICHOST,
            )
            for text in answer
        ]  # fmt: skip

    async def close(self) -> None:
        pass


async def test_a_name_keeps_only_the_addresses_that_may_be_dialled() -> None:
    resolver = GuardedResolver(Guard(), Answers(["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1"]))
    found = await resolver.resolve("a.example", 443)
    assert [item["host"] for item in found] == ["8.8.8.8", "2606:4700::1"]


@pytest.mark.parametrize("text", ["10.0.0.1", "fe80::1%eth0", "not-an-address"])
async def test_a_name_with_internal_addresses_only_is_refused(text: str) -> None:
    with pytest.raises(ForbiddenAddress):
        await GuardedResolver(Guard(), Answers([text])).resolve("a.example", 443)
