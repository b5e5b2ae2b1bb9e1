"""A token opens for whom and for what it was made, and is unknown to everybody else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.tickets import LIMITS, Purpose, Tickets, TicketTooLong, UnknownTicket
from store.sealed import Sealer

TICKETS = Tickets(Sealer(bytes(range(32))))
ADA, BOB = "user:u-ada", "user:u-bob"


def test_what_was_sealed_opens_and_does_not_show() -> None:
    token = TICKETS.seal(Purpose.CURSOR, ADA, "github", {"at": 3, "epoch": 17, "x": None})
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert TICKETS.open(Purpose.CURSOR, token, ADA, "github") == {"at": 3, "epoch": 17, "x": None}
    assert token != TICKETS.seal(Purpose.CURSOR, ADA, "github", {"at": 3, "epoch": 17, "x": None})
    restarted = Tickets(Sealer(bytes(range(32))))
    assert restarted.open(Purpose.CURSOR, token, ADA, "github")["at"] == 3


@pytest.mark.parametrize("purpose", Purpose)
def test_it_is_unknown_elsewhere(purpose: Purpose) -> None:
    token = TICKETS.seal(purpose, ADA, "github", {})
    others = [other for other in Purpose if other is not purpose]
    for place in (
        *((other, ADA, "github") for other in others),
        (purpose, BOB, "github"),
        (purpose, ADA, "github~2"),
        (purpose, f'{ADA}","github', ""),
    ):
        with pytest.raises(UnknownTicket) as caught:
            TICKETS.open(place[0], token, place[1], place[2])
        assert caught.value.code == "unknown_ticket"
        assert caught.value.__cause__ is None
    with pytest.raises(UnknownTicket):
        Tickets(Sealer(bytes(reversed(range(32))))).open(purpose, token, ADA, "github")


def test_every_change_of_it_is_unknown() -> None:
    token = TICKETS.seal(Purpose.EVENT, ADA, "s", {"n": 1})
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(UnknownTicket):
            TICKETS.open(Purpose.EVENT, token[:place] + other + token[place + 1 :], ADA, "s")
    for changed in (token + "=", token + "A", " " + token, token + "\n", token[:-1], "", "ü", "A"):
        with pytest.raises(UnknownTicket):
            TICKETS.open(Purpose.EVENT, changed, ADA, "s")


def test_a_second_spelling_of_the_last_character_is_unknown() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for size in range(4):
        token = TICKETS.seal(Purpose.EVENT, ADA, "s", {"n": "x" * size})
        for last in alphabet.replace(token[-1], ""):
            with pytest.raises(UnknownTicket):
                TICKETS.open(Purpose.EVENT, token[:-1] + last, ADA, "s")


def test_size_is_bounded_both_ways() -> None:
    with pytest.raises(TicketTooLong):
        TICKETS.seal(Purpose.EVENT, ADA, "s", {"x": "y" * LIMITS[Purpose.EVENT]})
    with pytest.raises(UnknownTicket):
        TICKETS.open(Purpose.EVENT, "A" * (LIMITS[Purpose.EVENT] + 1), ADA, "s")
    assert TICKETS.seal(Purpose.REQUEST_STATE, ADA, "s", {"x": "y" * 100_000})


VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=50)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_content_comes_back(payload: dict[str, object]) -> None:
    token = TICKETS.seal(Purpose.CURSOR, ADA, "s", payload)
    assert TICKETS.open(Purpose.CURSOR, token, ADA, "s") == payload
