"""What is wrong with documents together: references, duplicates, names, cycles, rules that cannot hold.

`loader` has checked each document by itself; here they are checked against each other and against what is
stored. All findings at once, sorted by place, each with a way to mend it. Pure: `now` is passed in. Rules
are checked in `check_rules` and `check_data_access`, provider accounts in `check_accounts`, shared look-ups in `mentions`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

from policies.check_accounts import check_account
from policies.check_cases import check_cases
from policies.check_data_access import check_data_access
from policies.check_logging import check_logging
from policies.check_mcp import check_server
from policies.check_rules import (
    check_actions,
    check_policy,
    check_targets,
    unique,
)
from policies.documents import (
    DataAccessConfig,
    Document,
    EchoMcpServer,
    LoggingConfig,
    McpServer,
    MetadataConfig,
    OpenApiMcpServer,
    Policy,
    ProviderAccount,
    RemoteMcpServer,
    ResourceGroup,
    Role,
    RoleBinding,
    Team,
    User,
    VirtualAccount,
    VirtualMcpServer,
)
from policies.errors import PolicyError, Problem
from policies.fits import ROLE_TYPES
from policies.lint import lint_policy
from policies.loader import Loaded, Located
from policies.mentions import Findings, Mentions
from policies.naming import EVERYONE, is_email, why_reserved
from policies.nearest import did_you_mean
from policies.things import Known, Things
from policies.truefoundry import tenant_wide

Doc = Located[Document]


def validate(
    loaded: Loaded, known: Known | None = None, *, now: datetime | None = None
) -> list[Problem]:
    """Every problem of the documents, those of the loader included, sorted by file, line and column.

    `known` are the documents that are stored; without it the shipped ones count as stored. `now` turns
    on the warnings about what is expired.
    """
    found = Findings(list(loaded.problems))
    refs = Mentions(Things(loaded, known), found)
    _duplicates(loaded, refs)
    for doc in loaded.documents:
        _name(doc, refs)
        _CHECKS.get(type(doc.document), _nothing)(doc, refs, now)
    return sorted(set(found.problems))


def _nothing(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    """Documents that only the server makes are not checked here."""


# -- identity ----------------------------------------------------------------------------------------


def _duplicates(loaded: Loaded, refs: Mentions) -> None:
    """One document for each (family, name), by casefold; the second one is reported."""
    seen: dict[tuple[str, str], Doc] = {}
    for doc in loaded.documents:
        family, name = doc.document.key
        folded = (family, name.casefold())
        first = seen.setdefault(folded, doc)
        if first is not doc:
            at = f"{first.file}:{first.place.line}"
            same = first.document.name == name
            refs.found.error(
                doc,
                ("name",),
                "duplicate",
                f"the {family} `{name}` is declared twice"
                if same
                else f"the {family} `{name}` differs from `{first.document.name}` in case only",
                f"the first is at {at}",
            )
            continue
        stored = refs.things.stored_spelling(family, name)
        if stored is not None and stored != name and family != "user":
            refs.found.error(
                doc,
                ("name",),
                "duplicate",
                f"the {family} `{name}` differs from the stored `{stored}` in case only",
                f"write `{stored}`, or choose another name",
            )


def _name(doc: Doc, refs: Mentions) -> None:
    hint = why_reserved(doc.document.key)
    if hint:
        message = f"the name `{doc.document.name}` is reserved"
        refs.found.error(doc, ("name",), "reserved_name", message, hint)


# -- people ------------------------------------------------------------------------------------------


def _user(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    user = doc.document
    assert isinstance(user, User)
    if user.email is None:
        refs.person(doc, ("name",), user.name)
    elif not is_email(user.email):
        refs.found.error(
            doc, ("email",), "bad_email", f"`{user.email[:80]}` is not an e-mail address"
        )
    elif is_email(user.name) and user.name.casefold() != user.email.casefold():
        refs.found.error(
            doc, ("email",), "wrong_value", "`name` and `email` are different addresses", "keep one"
        )
    _roles(doc, user.roles, refs)


def _team(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    team = doc.document
    assert isinstance(team, Team)
    for field in ("managers", "members"):
        seen: set[str] = set()
        for index, written in enumerate(getattr(team, field)):
            email = written.removeprefix("user:")
            refs.person(doc, (field, index), email)
            if email.casefold() in seen:
                refs.found.warn(
                    doc, (field, index), "repeated", f"`{email[:80]}` stands twice", "remove one"
                )
            seen.add(email.casefold())
    _roles(doc, team.roles, refs)
    _owner(doc, team.owned_by.team if team.owned_by else None, refs)
    _mappings(doc, bool(team.identity_provider_mapping), refs)


def _virtual_account(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    account = doc.document
    assert isinstance(account, VirtualAccount)
    _roles(doc, account.roles, refs)
    _owner(doc, account.owned_by.team if account.owned_by else None, refs)
    _mappings(doc, bool(account.identity_provider_mapping), refs)
    for index, permission in enumerate(account.permissions):
        path = ("permissions", index)
        resource = refs.named_resource(
            doc, (*path, "resource_fqn"), permission.resource_fqn, permission.resource_type
        )
        refs.resource_role(doc, (*path, "role_id"), permission.role_id, resource)
    if account.expiration_date is not None and now is not None:
        # The date is the last day: it ends at the following 00:00 UTC.
        ends = datetime.combine(account.expiration_date, time(), UTC) + timedelta(days=1)
        if ends <= now:
            refs.found.warn(
                doc, ("expiration_date",), "expired", "the account has expired", "set a later date"
            )
    rotation = account.auto_rotate
    if rotation is not None and rotation.grace_period >= rotation.auto_rotate_interval:
        refs.found.error(
            doc, ("auto_rotate", "grace_period"), "wrong_value",
            "the grace period is not shorter than the interval",
        )  # fmt: skip


def _roles(doc: Doc, roles: tuple[str, ...], refs: Mentions) -> None:
    for index, name in enumerate(roles):
        refs.tenant_role(doc, ("roles", index), name)


def _owner(doc: Doc, team: str | None, refs: Mentions) -> None:
    if f"team:{team}" == EVERYONE:
        refs.found.error(
            doc, ("ownedBy", "team"), "wrong_value", "`everyone` cannot own anything", "name a team"
        )
    elif team is not None:
        refs.team(doc, ("ownedBy", "team"), team)


def _mappings(doc: Doc, given: bool, refs: Mentions) -> None:
    if given:
        refs.found.warn(
            doc,
            ("identity_provider_mapping",),
            "no_effect",
            "identity providers are not supported yet, the mapping has no effect",
        )


# -- roles -------------------------------------------------------------------------------------------


def _role(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    role = doc.document
    assert isinstance(role, Role)
    if role.resource_type == "tenant":
        _tenant_role(doc, role, refs)
    elif role.resource_type not in ROLE_TYPES:
        known = ("tenant", *ROLE_TYPES)
        refs.found.error(
            doc,
            ("resourceType",),
            "wrong_value",
            f"`{role.resource_type[:80]}` is not a resource type that roles can have",
            did_you_mean(role.resource_type, known, "one of " + ", ".join(known)),
        )
    else:
        _bundle(doc, role, refs)


def _tenant_role(doc: Doc, role: Role, refs: Mentions) -> None:
    for index, written in enumerate(role.permissions):
        path = ("permissions", index)
        if refs.action(doc, path, written, wild=False):
            try:
                tenant_wide(written)
            except PolicyError as error:
                refs.found.error(doc, path, "not_tenant_wide", error.message, error.hint)
    if not role.permissions and not role.grants:
        refs.found.warn(doc, (), "empty_list", f"the role `{role.name}` gives nobody anything")
    for index, grant in enumerate(role.grants):
        actions: list[str] = []
        for place, written in enumerate(grant.actions):
            actions += refs.action(doc, ("grants", index, "actions", place), written, wild=False)
        at = ("grants", index, "resources")
        resources = check_targets(doc, at, grant.resources, tuple(actions), refs, bound=True)
        check_actions(doc, ("grants", index, "actions"), grant.actions, resources, refs)
        for field in ("actions", "resources"):
            if not getattr(grant, field):
                refs.found.warn(
                    doc, ("grants", index, field), "empty_list", f"a grant with no {field}"
                )


def _bundle(doc: Doc, role: Role, refs: Mentions) -> None:
    if role.grants:
        refs.found.error(
            doc,
            ("grants",),
            "wrong_value",
            "only a tenant role names resources",
            "write the actions under `permissions`; the resource is named where the role is granted",
        )
    if not role.permissions:
        refs.found.warn(
            doc, ("permissions",), "empty_list", f"the role `{role.name}` gives nobody anything"
        )
    prefixes = ROLE_TYPES[role.resource_type][1]
    for index, written in enumerate(role.permissions):
        path = ("permissions", index)
        for action in refs.action(doc, path, written, wild=False):
            if action.partition(":")[0] not in prefixes:
                refs.found.error(
                    doc,
                    path,
                    "action_mismatch",
                    f"`{action}` cannot be asked on a {role.resource_type}",
                    "a role on a thing holds actions on that kind of thing",
                )


def _role_binding(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    binding = doc.document
    assert isinstance(binding, RoleBinding)
    for index, subject in enumerate(binding.subjects):
        refs.subject(doc, ("subjects", index, "name"), f"{subject.type}:{subject.name}")
    for field in ("subjects", "permissions"):
        if not getattr(binding, field):
            refs.found.warn(
                doc, (field,), "empty_list", f"a binding with no {field} grants nobody anything"
            )
    for index, permission in enumerate(binding.permissions):
        path = ("permissions", index)
        if permission.resource_type == "tenant":
            refs.tenant_role(doc, (*path, "role"), permission.role)
            continue
        resource = refs.named_resource(
            doc, (*path, "resourceFqn"), permission.resource_fqn, permission.resource_type
        )
        refs.resource_role(doc, (*path, "role"), permission.role, resource)


# -- the rest ----------------------------------------------------------------------------------------


def _provider_account(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    account = doc.document
    assert isinstance(account, ProviderAccount)
    check_account(doc, account, refs)
    _owner(doc, account.owned_by.team if account.owned_by else None, refs)


def _mcp_server(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    server = doc.document
    assert isinstance(server, McpServer)
    check_server(doc, server, refs)
    _owner(doc, server.owned_by.team if server.owned_by else None, refs)


def _policy(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    assert isinstance(doc.document, Policy)
    check_policy(doc, doc.document, refs, now)
    check_cases(doc, doc.document, refs)
    lint_policy(doc, doc.document, refs.found)


def _resource_group(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    group = doc.document
    assert isinstance(group, ResourceGroup)
    if not group.resources:
        refs.found.warn(doc, ("resources",), "empty_list", "a group that holds nothing")
    for index, written in enumerate(group.resources):
        refs.resource(doc, ("resources", index), written, bound=True, groups=False)


def _data_access(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    assert isinstance(doc.document, DataAccessConfig)
    check_data_access(doc, doc.document, refs)


def _metadata(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    config = doc.document
    assert isinstance(config, MetadataConfig)
    unique(doc, "rules", [rule.id for rule in config.rules], refs)
    for index, rule in enumerate(config.rules):
        refs.subjects(doc, ("rules", index, "subjects"), rule.subjects)
        for field in ("subjects", "metadata_override"):
            if not getattr(rule, field):
                refs.found.warn(
                    doc,
                    ("rules", index, field),
                    "empty_list",
                    f"a rule with no {field} pins nothing",
                )


def _logging(doc: Doc, refs: Mentions, now: datetime | None) -> None:
    assert isinstance(doc.document, LoggingConfig)
    check_logging(doc, doc.document, refs)


_CHECKS: dict[type[Document], Callable[[Doc, Mentions, datetime | None], None]] = {
    DataAccessConfig: _data_access,
    EchoMcpServer: _mcp_server,
    LoggingConfig: _logging,
    MetadataConfig: _metadata,
    OpenApiMcpServer: _mcp_server,
    Policy: _policy,
    ProviderAccount: _provider_account,
    RemoteMcpServer: _mcp_server,
    ResourceGroup: _resource_group,
    Role: _role,
    RoleBinding: _role_binding,
    Team: _team,
    User: _user,
    VirtualAccount: _virtual_account,
    VirtualMcpServer: _mcp_server,
}
