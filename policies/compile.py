"""One stored document becomes rows: pure, deterministic, sorted. Nothing else makes rows.

What a document comes to depends on itself and on the few facts of `ports.Lookups`, never on other rows,
so a change compiles the documents it touches and those whose look-ups changed, and nothing besides.
A mention of something that is gone or suspended has no row on an allow; a deny holds for every
generation of a name. An empty list grants nothing. Rules (policies, data access) are in
`compile_rules.py`; which row types mean what is in `docs/architecture.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from authz.rows import Row, row
from authz.vocabulary import MCP_KINDS, Action, Kind, kind_of, make_id, model_id, split_id
from policies.compile_mcp import catalogue_rows, virtual_rows
from policies.compile_rules import data_access_rows, policy_rows, resource_group_rows
from policies.documents import (
    Credential,
    DataAccessConfig,
    Document,
    Integration,
    LoggingConfig,
    LogWriter,
    McpCatalogue,
    McpServer,
    MetadataConfig,
    Policy,
    ProviderAccount,
    ResourceGroup,
    Role,
    RoleBinding,
    Team,
    User,
    VirtualAccount,
    VirtualMcpServer,
)
from policies.errors import PolicyError
from policies.naming import EVERYONE, KIND_OF_FAMILY, id_of, label
from policies.ports import Lookups
from policies.truefoundry import actions_of, resource_of, tenant_wide

TEAM_MANAGER = "role:team-manager"  # the bundle that a team's managers hold on the team
DATA_TYPES = ("traces", "payloads", "metrics", "decisions")
_CONTROL_PLANE = (
    *sorted({kind.value for kind in KIND_OF_FAMILY.values()} - {Kind.CREDENTIAL.value}),
    Kind.SETTINGS.value,
)


def _structure() -> Iterator[Row]:
    for kind in _CONTROL_PLANE:
        yield row("g2", f"any:{kind}", "any:object")
    yield row("g2", "self:caller", "any:settings")
    yield row("g2", "settings:gateway", "any:settings")
    for data in DATA_TYPES:
        yield row("g2", f"data:{data}/team-accounts", f"data:{data}/team")
        yield row("g2", f"data:{data}/team", f"data:{data}/all")
        yield row("g2", f"data:{data}/own", f"data:{data}/all")


STRUCTURE_ROWS: tuple[Row, ...] = tuple(sorted(_structure()))


def rows_of(document: Document, lookups: Lookups) -> tuple[Row, ...]:
    """The rows that a stored document asserts: sorted, each once.

    Raises:
        PolicyError | InvalidId | InvalidRow: the document names an action or a resource that does not
            exist; `validate` and `resolve` refuse such a document before.
    """
    match document:
        case User():
            made = _user(document, lookups)
        case Team():
            made = _team(document, lookups)
        case Role():
            made = _role(document)
        case RoleBinding():
            made = _role_binding(document, lookups)
        case VirtualAccount():
            made = _virtual_account(document, lookups)
        case ProviderAccount():
            made = _provider_account(document, lookups)
        case McpServer():
            made = _mcp_server(document, lookups)
        case McpCatalogue():
            made = catalogue_rows(document, lookups)
        case Policy():
            made = policy_rows(document, lookups)
        case ResourceGroup():
            made = resource_group_rows(document, lookups)
        case DataAccessConfig():
            made = data_access_rows(document, lookups)
        case MetadataConfig() | LoggingConfig():
            made = iter((_known(document),))
        case Credential():
            made = _credential(document, lookups)
        case LogWriter():
            made = iter(())
        case _:
            raise TypeError(f"no rows are known for a {document.type}")
    return tuple(sorted(set(made)))


def _known(document: Document) -> Row:
    """The row that puts a thing into the catalogue."""
    thing = id_of(document)
    return row("g2", thing, f"any:{kind_of(thing)}")


def _user(user: User, lookups: Lookups) -> Iterator[Row]:
    thing = id_of(user)
    yield _known(user)
    if not lookups.acts(thing):
        return
    if user.state == "active":
        yield row("g", thing, EVERYONE)
    yield from _tenant_roles(thing, user.roles, lookups)


def _team(team: Team, lookups: Lookups) -> Iterator[Row]:
    thing = id_of(team)
    yield _known(team)
    yield row("g", make_id(Kind.BOUND, team.name), thing)
    for member in team.members:
        if lookups.acts(member):
            yield row("g", member, thing)
    yield from _tenant_roles(thing, team.roles, lookups)
    for manager in team.managers:
        if lookups.acts(manager) and lookups.bundle(TEAM_MANAGER) is not None:
            rule = f"{label(team.key)}#manager/{manager}"
            yield row("p", manager, thing, TEAM_MANAGER, "allow", "", rule)


def _tenant_roles(subject: str, roles: Iterable[str], lookups: Lookups) -> Iterator[Row]:
    for name in roles:
        role = make_id(Kind.ROLE, name)
        if lookups.is_tenant_role(role):
            yield row("g", subject, role)


def _role(role: Role) -> Iterator[Row]:
    thing = id_of(role)
    yield _known(role)
    if role.resource_type != "tenant":
        for action in bundle_of(role):
            yield row("g3", action, thing)
        return
    pairs = {
        (action.value, target)
        for permission in role.permissions
        for action, target in tenant_wide(permission)
    }
    pairs |= {
        (action.value, target)
        for grant in role.grants
        for permission in grant.actions
        for action in actions_of(permission)
        for target in grant.resources
    }
    for action_name, target in pairs:
        rule = f"{label(role.key)}#{action_name}@{target}"
        yield row("p", thing, target, action_name, "allow", "", rule)


def bundle_of(role: Role) -> tuple[str, ...]:
    """The actions of a resource role, sorted."""
    return tuple(sorted({action.value for name in role.permissions for action in actions_of(name)}))


def _role_binding(binding: RoleBinding, lookups: Lookups) -> Iterator[Row]:
    for bound in binding.subjects:
        subject = f"{bound.type}:{bound.name}"
        if not lookups.acts(subject):
            continue
        for permission in binding.permissions:
            role = make_id(Kind.ROLE, permission.role)
            if lookups.is_tenant_role(role):
                if bound.type == "role":
                    # Roles do not hold roles: the graph of subjects stays free of cycles.
                    raise PolicyError(
                        f"`{subject}` cannot hold the tenant role `{permission.role}`"
                    )
                yield row("g", subject, role)
                continue
            target = resource_of(permission.resource_fqn, permission.resource_type)
            rule = f"{label(binding.key)}#{subject}/{target}/{permission.role}"
            yield from grant_rows(subject, target, role, rule, lookups)


def _virtual_account(account: VirtualAccount, lookups: Lookups) -> Iterator[Row]:
    thing = id_of(account)
    yield _known(account)
    owner = account.owned_by.team if account.owned_by else None
    if owner is not None and owner == account.bounded_by:
        # INVARIANT: a manager never holds a token stronger than the team. The link carries what a
        # manager may do on the team (tokens, grants) to the account, so only a bounded account has it.
        team = make_id(Kind.TEAM, owner)
        if lookups.lives(team):
            yield row("g2", thing, team)
    if not lookups.acts(thing):
        return
    yield from _tenant_roles(thing, account.roles, lookups)
    for permission in account.permissions:
        target = resource_of(permission.resource_fqn, permission.resource_type)
        rule = f"{label(account.key)}#{target}/{permission.role_id}"
        role = make_id(Kind.ROLE, permission.role_id)
        yield from grant_rows(thing, target, role, rule, lookups)


def _provider_account(account: ProviderAccount, lookups: Lookups) -> Iterator[Row]:
    yield _known(account)
    yield from _collaborators(account, lookups)
    for integration in account.integrations:
        yield from _model(account, integration, lookups)


def _mcp_server(server: McpServer, lookups: Lookups) -> Iterator[Row]:
    yield _known(server)
    yield from _collaborators(server, lookups)
    if isinstance(server, VirtualMcpServer):
        yield from virtual_rows(server, lookups)


def _collaborators(document: ProviderAccount | McpServer, lookups: Lookups) -> Iterator[Row]:
    thing = id_of(document)
    shapes: dict[str, list[Shape]] = {}  # by role: an account may have thousands of grants
    rules = f"{label(document.key)}#collaborator"
    for grant in document.collaborators:
        subject, role = grant.subject, grant.role_id
        if role not in shapes:
            shapes[role] = grant_shapes(thing, make_id(Kind.ROLE, role), lookups)
        if lookups.acts(subject):
            for target, action, tail in shapes[role]:
                rule = f"{rules}/{subject}/{role}{tail}"
                yield row("p", subject, target, action, "allow", "", rule)


def _model(account: ProviderAccount, integration: Integration, lookups: Lookups) -> Iterator[Row]:
    model = model_id(account.name, integration.name)
    yield row("g2", model, id_of(account))
    yield row("g2", model, "any:model")
    if integration.authorized_subjects is None:
        yield row("g2", model, make_id(Kind.OPEN_MODELS, account.name))
    for subject in integration.authorized_subjects or ():
        if lookups.acts(subject):
            rule = f"{label(account.key)}#model/{integration.name}/{subject}"
            yield row("p", subject, model, Action.MODEL_USE.value, "allow", "", rule)
    if integration.routing_config is not None:
        for target in integration.routing_config.targets:
            # Also for a target that is gone: an alias without its link would be decided on its own.
            name, _, model_name = target.target.partition("/")
            yield row("a", model, model_id(name, model_name))


def _credential(credential: Credential, lookups: Lookups) -> Iterator[Row]:
    token = make_id(Kind.TOKEN, credential.name)
    number = 0
    for restriction in credential.restrictions or ():
        for permission in restriction.actions:
            for action in actions_of(permission):
                for target in restriction.resources:
                    rule = f"{label(credential.key)}#{number}"
                    number += 1
                    if is_live(target, lookups):
                        yield row("p", token, target, action.value, "allow", "", rule)


Shape = tuple[str, str, str]  # object, action or bundle, what is appended to the rule id


def grant_rows(subject: str, target: str, role: str, rule: str, lookups: Lookups) -> Iterator[Row]:
    """The rows of "`subject` holds the resource role `role` on `target`"; none if one of them is gone."""
    for thing, action, tail in grant_shapes(target, role, lookups):
        yield row("p", subject, thing, action, "allow", "", rule + tail)


_OPEN_PART = {
    Kind.PROVIDER_ACCOUNT: Kind.OPEN_MODELS,
    Kind.RESOURCE_GROUP: Kind.OPEN_GROUP,
}


def grant_shapes(target: str, role: str, lookups: Lookups) -> list[Shape]:
    """What any subject gets by a grant of `role` on `target`.

    On an account, or a group of them, a role that may not administer reaches the models that have no subjects
    of their own (`open-models:<account>`), and what it may do to the account itself; a role that may administer
    reaches all of them. So `authorized_subjects` overrides an access grant, not a manager's.
    """
    actions = lookups.bundle(role)
    if actions is None or not is_live(target, lookups):
        return []
    kind, name = split_id(target)
    administers = {Action.PROVIDER_ACCOUNT_WRITE.value, Action.ACCESS_GRANT.value}
    open_part = _OPEN_PART.get(kind)
    if open_part is None or administers & set(actions):
        return [(target, role, "")]
    use = Action.MODEL_USE.value
    shapes: list[Shape] = [(f"{open_part.value}:{name}", role, "")] if use in actions else []
    return [*shapes, *((target, action, f"/{action}") for action in actions if action != use)]


def is_live(target: str, lookups: Lookups) -> bool:
    """Whether an allow on `target` may have a row: it exists now, or is no document's thing."""
    kind = kind_of(target)
    if kind == Kind.MODEL.value:
        account = target.partition(":")[2].partition("/")[0]
        return target in lookups.models(account)
    if kind in MCP_KINDS:  # what a server offers is found later; until then it exists for nobody
        return lookups.lives(make_id(Kind.MCP_SERVER, target.partition(":")[2].partition("/")[0]))
    return lookups.lives(target)
