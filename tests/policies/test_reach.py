"""What the rows of a change reach: each line once, told by the widest row that comes or goes."""

from __future__ import annotations

from estates import MODEL

from authz.engine import Engine
from authz.rows import Row, row
from policies.reach import Headline, Reach

USE = "model:use"
GRANT = row("p", "team:t", "provider-account:a", USE, "allow", "", "grant")
STOP = row("p", "team:t", "model:b/x", "*", "deny", "", "stop")
MEMBER = row("g", "user:u-1", "team:t")
ROWS = [
    row("g2", "model:a/x", "provider-account:a"),
    row("g2", "model:b/x", "any:model"),
    row("g2", "model:v/x", "any:model"),
    row("a", "model:v/x", "model:b/x"),
    row("g", "bound:t", "team:t"),
    row("g2", "virtualaccount:v", "any:virtualaccount"),
]


def reach(*rows: Row) -> Reach:
    bounds = {"virtualaccount:v": "bound:t"}
    everyone = ["user:u-1", "virtualaccount:v"]
    return Reach(Engine.load(MODEL, [*ROWS, *rows], 1), bounds.get, everyone)


def test_a_member_of_a_team_that_gets_its_grant_too_has_no_line_of_its_own() -> None:
    spots = list(reach(GRANT, MEMBER).spots([GRANT, MEMBER], come=True, switched=()))
    (spot,) = spots
    assert spot.headline == Headline("team:t", USE, "provider-account:a", "grant")
    assert (spot.gains, spot.people) == (True, ("user:u-1", "virtualaccount:v"))
    assert spot.targets == ((USE, "model:a/x"),)


def test_a_member_that_comes_alone_has_a_line_for_what_the_team_holds() -> None:
    (spot,) = reach(GRANT, MEMBER).spots([MEMBER], come=True, switched=())
    assert spot.headline == Headline("user:u-1", USE, "provider-account:a", "grant")
    assert spot.people == ("user:u-1",)


def test_a_deny_reaches_the_aliases_of_its_thing_and_an_allow_does_not() -> None:
    (spot,) = reach(STOP).spots([STOP], come=True, switched=())
    assert spot.gains is False
    assert {(USE, "model:b/x"), (USE, "model:v/x")} <= set(spot.targets)
    allow = row("p", "team:t", "model:b/x", USE, "allow", "", "allow")
    (spot,) = reach(allow).spots([allow], come=False, switched=())
    assert (spot.gains, spot.targets) == (False, ((USE, "model:b/x"),))


def test_a_deny_on_a_tool_reaches_the_virtual_tools_that_stand_for_it() -> None:
    tools = [
        row("g2", "mcp-tool:s/x", "mcp-server:s"),
        row("g2", "mcp-tool:v/x", "mcp-server:v"),
        row("a", "mcp-tool:v/x", "mcp-tool:s/x"),
    ]
    stop = row("p", "team:t", "mcp-tool:s/x", "mcp-tool:call", "deny", "", "stop")
    (spot,) = reach(stop, *tools).spots([stop], come=True, switched=())
    assert {thing for _, thing in spot.targets} == {"mcp-tool:s/x", "mcp-tool:v/x"}


def test_any_kind_reaches_everyone_of_before_and_after() -> None:
    assert reach().people("any:subject") == ("user:u-1", "virtualaccount:v")
    assert reach().people("any:user") == ("user:u-1",)
