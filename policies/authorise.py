"""Whether the asker may make a change: judged by the rows that it adds, document by document.

INVARIANT: nobody adds a right that he may not grant. Each document needs its own type's write action on
the thing (or `create` on the container), and each row that it asserts anew needs the right to give it:
`access:grant` on the object of an allow or a link, `team:manage-members` for a membership (`role:assign`
as well when the team holds a tenant role), `role:assign` for what a role holds and who holds it,
`policy:write` for denies, shadow rows and conditions of policies. All of it is asked of the engine, so
that these rights are policy too. What decides:

* Rows that a catalogue change re-resolves in other people's documents need nothing: they were judged when
  those were written. Ended rows need the document's write action only.
* A virtual MCP server needs `access:grant` on each tool that it names, and where it names none on the server.
* What a server was found to offer needs nothing but `mcp-server:write`, by who approves it.
* Whoever may create a provider account, an MCP server or a team may grant on the new thing itself. Nothing else is new
  about it: roles, members' roles and other accounts are judged as always.
* A team's managers, owner and identity-provider mapping, and an account's owner and mapping, are asked on
  the container (`any:team`, `any:virtualaccount`), which a manager of one team cannot reach.
* Grants of a bounded account need no `access:grant`: every use is judged against its team as well.
* A case that is new needs `decision:ask` about who asks in it: whether it holds is an answer.
* Ending a suspension gives tenant roles back, held directly or through teams: `role:assign`, as for new.
* Metadata that is pinned anew decides conditions of allows on models, so it needs `access:grant` on all.
* Taking a document over from the source that owns it needs the right to write on the container.
* A secret that the host resolves (`env:`, `file:`) at an address that is new needs the right to create.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from authz.conditions import Context
from authz.decision import Asker, Decision
from authz.rows import Row
from authz.vocabulary import MCP_KINDS, Action, Kind, kind_of, make_id, mcp_id
from policies import globs
from policies.documents import (
    Credential,
    Document,
    MetadataConfig,
    Policy,
    ResourceGroup,
    Team,
    User,
    VirtualAccount,
    VirtualMcpServer,
    parse,
)
from policies.errors import NotAuthorised
from policies.naming import EVERYONE, HOST_FAMILIES, KIND_OF_FAMILY, Key
from policies.secrets import host_references
from policies.truefoundry import actions_of
from policies.verbs import VERBS

if TYPE_CHECKING:
    from policies.change import Delta, DocumentChange, Plan

Need = tuple[Action, str]


class Judge(Protocol):
    """The part of the engine that is asked."""

    def decide(self, asker: Asker, action: str, resource: str, context: Context) -> Decision: ...
    def knows(self, resource: str) -> bool: ...
    def subject_closure(self, subject: str) -> frozenset[str]: ...


def authorise(engine: Judge, asker: Asker, plan: Plan, context: Context) -> None:
    """Whether `asker` may make the planned change.

    Raises:
        NotAuthorised: with every (action, object) that he lacks.
    """
    if any(change.key[0] in HOST_FAMILIES for change in plan.documents):
        raise NotAuthorised("only the gateway itself makes this change", ())
    judgement = _Judgement(engine, asker, plan, context)
    missing = sorted({need for need in judgement.needs() if not judgement.may(need)})
    if judgement.escalates:
        raise NotAuthorised(
            "a restricted token cannot make an unrestricted one",
            (),
            hint="restrict the new token to what this one may do",
        )
    if missing:
        first, thing = missing[0]
        raise NotAuthorised(
            f"this change needs `{first}` on `{thing}`",
            tuple((str(action), thing) for action, thing in missing),
            hint="ask somebody who may grant it",
        )


def may_grant(engine: Judge, asker: Asker, thing: str, context: Context) -> bool:
    """Whether `asker` holds `access:grant` on an object of a grant."""
    asked = _grant_object(thing)
    return bool(engine.decide(asker, Action.ACCESS_GRANT, asked, context))


# What is open of a thing is granted by whoever may grant the thing.
_WHOLE = {
    Kind.OPEN_MODELS.value: Kind.PROVIDER_ACCOUNT.value,
    Kind.OPEN_GROUP.value: Kind.RESOURCE_GROUP.value,
}


def _grant_object(thing: str) -> str:
    """Where `access:grant` is asked for an object of a row."""
    kind, _, name = thing.partition(":")
    whole = _WHOLE.get(kind)
    return thing if whole is None else f"{whole}:{name}"


class _Judgement:
    """One change and one asker. `needs` yields what is required, `may` asks for one of it."""

    def __init__(self, engine: Judge, asker: Asker, plan: Plan, context: Context) -> None:
        self._engine = engine
        self._asker = asker
        self._plan = plan
        self._context = context
        self._answers: dict[Need, bool] = {}
        self._gained: dict[str, set[str]] | None = None  # subject -> groups that it joins
        self._roles: dict[str, tuple[str, ...]] = {}  # team -> tenant roles, once asked
        self._returned: dict[str, set[str]] | None = (
            None  # subject -> groups that it is in afterwards
        )
        self.escalates = False
        self._new = {
            f"{KIND_OF_FAMILY[change.key[0]].value}:{change.key[1]}"
            for change in plan.documents
            if change.before is None
        }

    def may(self, need: Need) -> bool:
        """Whether the asker may; each question is asked once."""
        if need not in self._answers:
            action, thing = need
            decision = self._engine.decide(self._asker, action, thing, self._context)
            self._answers[need] = bool(decision)
        return self._answers[need]

    def needs(self) -> Iterator[Need]:
        """Every right that the change requires of whoever asked for it."""
        for change in self._plan.documents:
            delta = self._plan.deltas.get(change.key)
            if delta is None:
                continue  # invited by being mentioned, or ended with its owner
            before = parse(change.before) if change.before is not None else None
            after = parse(change.after) if change.after is not None else None
            if change.key[0] == "credential":
                yield from self._credential(before, after)
                continue
            yield from self._document(change, before, after, delta)
            bounded = change.key in self._plan.bindable or (
                isinstance(after, VirtualAccount) and after.bounded_by is not None
            )
            for row in delta.added:
                yield from self._row(row, change.key, bounded=bounded)

    # --- the document itself ---

    def _document(
        self, change: DocumentChange, before: Document | None, after: Document | None, delta: Delta
    ) -> Iterator[Need]:
        family, name = change.key
        thing = f"{KIND_OF_FAMILY[family].value}:{name}"
        if family == "role-binding":
            yield from self._binding(delta)
        elif after is None:
            yield VERBS[family].delete, thing
        elif before is None:
            owner = after.owned_by if isinstance(after, VirtualAccount) else None
            yield self._create(family, owner.team if owner is not None else None)
        elif isinstance(before, Team) and isinstance(after, Team):
            yield from self._team(thing, before, after)
        else:
            yield VERBS[family].write, thing
        if name in self._plan.readdressed and before is not None:
            yield from self._acting_as(thing)  # who has the address can sign in as this user
        if isinstance(after, VirtualAccount) and isinstance(before, VirtualAccount):
            yield from self._account(thing, before, after, delta)
        if change.key in self._plan.taken:
            # Who decides about a thing from now on is not for somebody who manages this one thing.
            yield VERBS[family].write, f"any:{KIND_OF_FAMILY[family].value}"
        for thing in _patterns(before, after):
            yield Action.ACCESS_GRANT, self._existing(thing)
        for asker in _askers(before, after):
            yield Action.DECISION_ASK, self._existing(asker)
        if _suspended(before) and after is not None and not _suspended(after):
            yield from self._resumed(thing)
        if _pins(before, after):
            yield Action.ACCESS_GRANT, "any:model"
        yield from self._parts(before, after)
        if host_references(change.after) - host_references(change.before):
            yield VERBS[family].create, f"any:{KIND_OF_FAMILY[family].value}"

    def _parts(self, before: Document | None, after: Document | None) -> Iterator[Need]:
        """What a virtual MCP server takes anew: a tool that is named, or a whole server with all to come."""
        if not isinstance(after, VirtualMcpServer):
            return
        held = before.servers if isinstance(before, VirtualMcpServer) else ()
        for part in after.servers:
            if part in held:
                continue
            if part.enabled_tools is None:
                yield Action.ACCESS_GRANT, self._existing(make_id(Kind.MCP_SERVER, part.name))
            for tool in part.enabled_tools or ():
                thing = mcp_id(Kind.MCP_TOOL, part.name, tool)
                yield Action.ACCESS_GRANT, self._existing(thing)

    def _create(self, family: str, owner: str | None) -> Need:
        """The right to create: on the container, or for an owned account on the team that owns it."""
        action = VERBS[family].create
        need = (action, f"any:{KIND_OF_FAMILY[family].value}")
        if owner is None or f"team:{owner}" in self._new or self.may(need):
            return need
        return action, f"team:{owner}"

    def _binding(self, delta: Delta) -> Iterator[Need]:
        """A role binding has no action of its own: what it gives and takes decides."""
        if not delta.added and not delta.removed:
            yield Action.ROLE_ASSIGN, "any:role"
        for row in delta.removed:
            yield from self._row(row, ("role-binding", ""), bounded=False)

    def _team(self, thing: str, before: Team, after: Team) -> Iterator[Need]:
        def rest(team: Team) -> dict[str, Any]:
            return team.model_dump(exclude={"members"})

        def reserved(team: Team) -> tuple[Any, ...]:
            return (
                frozenset(team.managers),
                frozenset(team.roles),
                team.owned_by,
                team.identity_provider_mapping,
            )

        if frozenset(before.members) != frozenset(after.members):
            yield Action.TEAM_MANAGE_MEMBERS, thing
        if rest(before) != rest(after) or before.members == after.members:
            yield Action.TEAM_WRITE, thing
        if reserved(before) != reserved(after):
            yield Action.TEAM_WRITE, "any:team"

    def _account(
        self, thing: str, before: VirtualAccount, after: VirtualAccount, delta: Delta
    ) -> Iterator[Need]:
        moved = (before.owned_by, before.identity_provider_mapping) != (
            after.owned_by,
            after.identity_provider_mapping,
        )
        if moved:
            yield Action.VIRTUAL_ACCOUNT_WRITE, "any:virtualaccount"
            if after.owned_by is not None and after.owned_by.team is not None:
                yield self._create("virtual-account", after.owned_by.team)
        if before.bounded_by is not None and after.bounded_by is None:
            yield Action.VIRTUAL_ACCOUNT_UNBIND, thing
            # Unbound, the account has what it grants by itself: as if it were granted now.
            for target in self._plan.granted.get(("virtual-account", after.name), ()):
                yield Action.ACCESS_GRANT, self._existing(_grant_object(target))

    # --- rows ---

    def _row(self, row: Row, key: Key, *, bounded: bool) -> Iterator[Need]:
        match row.ptype:
            case "g":
                yield from self._membership(*row.values)
            case "g2":
                yield from self._link(row.values[0], row.values[1], key)
            case "g3":
                yield Action.ACCESS_GRANT, self._existing(row.values[1])
            case "a":
                yield Action.ACCESS_GRANT, self._existing(_grant_object(row.values[1]))
            case "p":
                yield from self._rule(row, key, bounded)
            case "p2":
                yield Action.POLICY_WRITE, self._existing(_policy(key))
            case _:
                return  # a condition's definition and a message give nothing by themselves

    def _rule(self, row: Row, key: Key, bounded: bool) -> Iterator[Need]:
        subject, target, _, effect, _, _ = row.values
        if effect == "deny":
            yield Action.POLICY_WRITE, self._existing(_policy(key))
        elif key[0] == "role":
            yield Action.ROLE_ASSIGN, self._existing(subject)
        elif bounded and key[0] == "virtual-account":
            return
        elif not self._is_own_new(target, key):
            yield Action.ACCESS_GRANT, self._existing(_grant_object(target))

    def _membership(self, subject: str, group: str) -> Iterator[Need]:
        kind = kind_of(group)
        if kind == Kind.ROLE.value:
            yield Action.ROLE_ASSIGN, self._existing(group)
        elif kind_of(subject) != Kind.BOUND.value and group != EVERYONE:
            if group not in self._new:
                yield Action.TEAM_MANAGE_MEMBERS, group
            for role in self._roles_of(group):
                yield Action.ROLE_ASSIGN, self._existing(role)

    def _roles_of(self, team: str) -> tuple[str, ...]:
        """The tenant roles that a team holds, or will hold by this change."""
        if self._gained is None:  # looked up for each member of an estate: read through once
            self._gained = {}
            for delta in self._plan.deltas.values():
                for row in delta.added:
                    if row.ptype == "g":
                        self._gained.setdefault(row.values[0], set()).add(row.values[1])
        if team not in self._roles:
            held = {one for one in self._engine.subject_closure(team) if kind_of(one) == "role"}
            self._roles[team] = tuple(sorted(held | self._gained.get(team, set())))
        return self._roles[team]

    def _resumed(self, subject: str) -> Iterator[Need]:
        """The tenant roles that a subject has again by this change: as much as giving them."""
        if self._returned is None:  # read through once, however many are resumed
            self._returned = {}
            for row in self._plan.added:
                if row.ptype == "g":
                    self._returned.setdefault(row.values[0], set()).add(row.values[1])
        roles: set[str] = set()
        for group in self._returned.get(subject, ()):
            is_role = kind_of(group) == Kind.ROLE.value
            roles.update(
                (group,) if is_role else self._roles_of(group) if group != EVERYONE else ()
            )
        for role in sorted(roles):
            yield Action.ROLE_ASSIGN, self._existing(role)

    def _link(self, child: str, parent: str, key: Key) -> Iterator[Need]:
        """A link gives whoever may use the parent the child. A thing's own place needs no grant."""
        if parent.startswith("any:") or self._is_own_new(child, key):
            return
        if key[0] == "virtual-account":
            return  # to the team that owns and bounds it: asked as `ownedBy`
        if key[0] in ("mcp-server", "mcp-catalogue") and self._root(child) == parent:
            return  # what a server offers, by who may write the server
        if key[0] == "provider-account" and not self._engine.knows(child):
            return  # a new model of an account that the asker may write
        yield Action.ACCESS_GRANT, self._existing(_grant_object(child))

    # --- things that are new ---

    def _is_own_new(self, target: str, key: Key) -> bool:
        """Whether `target` is, or is part of, the new thing that the document itself describes."""
        return key[0] in ("mcp-server", "provider-account", "team") and self._root(
            target
        ) in self._new & {f"{KIND_OF_FAMILY[key[0]].value}:{key[1]}"}

    def _existing(self, thing: str) -> str:
        """`thing`, or what to ask instead while it does not exist: its account, or its container."""
        if thing.startswith("any:"):
            return thing
        root = self._root(thing)
        if root in self._new:
            return f"any:{kind_of(root)}"
        return thing if self._engine.knows(thing) else root

    @staticmethod
    def _root(thing: str) -> str:
        """The thing with a document of its own: the account of a model, the server of a tool."""
        kind, _, name = thing.partition(":")
        if kind in (Kind.MODEL.value, Kind.OPEN_MODELS.value):
            return f"{Kind.PROVIDER_ACCOUNT.value}:{name.partition('/')[0]}"
        if kind in MCP_KINDS:
            return f"{Kind.MCP_SERVER.value}:{name.partition('/')[0]}"
        return thing

    def _acting_as(self, subject: str) -> Iterator[Need]:
        """Being able to act as somebody is as much as giving oneself his roles."""
        own = self._engine.subject_closure(self._asker.id)
        everyone = self._engine.subject_closure("team:everyone")
        for held in sorted(self._engine.subject_closure(subject) - own - everyone):
            if kind_of(held) == Kind.ROLE.value:
                yield Action.ROLE_ASSIGN, held

    # --- credentials ---

    def _credential(self, before: Document | None, after: Document | None) -> Iterator[Need]:
        """A token is made and ended by its owner, or by who may handle the owner's tokens.

        A restricted token makes no token that may more than itself.
        """
        credential = after if after is not None else before
        assert isinstance(credential, Credential)
        subject = credential.subject
        if subject == self._asker.id:
            yield Action.SELF_MANAGE_TOKENS, "self:caller"
        else:
            account = kind_of(subject) == Kind.VIRTUAL_ACCOUNT.value
            action = Action.VIRTUAL_ACCOUNT_ROTATE if account else Action.USER_MANAGE_TOKENS
            yield action, self._existing(subject)
            if after is not None:
                yield from self._acting_as(subject)
        if after is None or self._asker.token is None:
            return
        self.escalates |= credential.restrictions is None
        for restriction in credential.restrictions or ():
            for permission in restriction.actions:
                for action in actions_of(permission):
                    for target in restriction.resources:
                        yield action, target


def _patterns(before: Document | None, after: Document | None) -> Iterator[str]:
    """The accounts and servers of new patterns. One gives what it does not match yet, so all of it is judged
    now. So is what an MCP server may offer one day.
    """
    found: set[str] = set()
    if isinstance(after, Policy):
        held = before.rules if isinstance(before, Policy) else ()
        for rule in after.rules:
            if rule.effect == "allow" and rule.mode == "enforce" and rule not in held:
                found.update(rule.resources)
    elif isinstance(after, ResourceGroup):
        found.update(after.resources)
        found.difference_update(before.resources if isinstance(before, ResourceGroup) else ())
    for pattern in sorted(found):
        offered = kind_of(pattern) in MCP_KINDS
        account = globs.account_of(pattern) if globs.is_glob(pattern) else None
        if account is not None:
            yield f"{(Kind.MCP_SERVER if offered else Kind.PROVIDER_ACCOUNT).value}:{account}"
        elif offered and not globs.is_glob(pattern):
            yield pattern


def _suspended(document: Document | None) -> bool:
    if isinstance(document, User):
        return document.state == "suspended" or bool(document.suspended_by)
    return isinstance(document, VirtualAccount) and document.state == "suspended"


def _pins(before: Document | None, after: Document | None) -> bool:
    """Whether a metadata configuration pins something else. The last rule that matches wins, so a rule
    that goes may let another one hold; only a configuration without rules pins nothing.
    """
    if not isinstance(after, MetadataConfig):
        return False
    return after.rules not in ((), before.rules if isinstance(before, MetadataConfig) else ())


def _askers(before: Document | None, after: Document | None) -> list[str]:
    """Who asks in cases that are new. Whether a case holds tells what somebody may do."""
    if not isinstance(after, Policy):
        return []
    held = before.cases if isinstance(before, Policy) else ()
    return sorted({case.asker for case in after.cases if case not in held})


def _policy(key: Key) -> str:
    return f"policy:{key[1]}" if key[0] == "policy" else "any:policy"
