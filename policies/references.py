"""Where documents mention other things: one walk, used to resolve, to render and to find dependents.

`rewrite` visits every mention in the mapping of a document and puts what the visitor answers in its
place. `mentions_of` lists what a stored document depends on, as tokens that do not name a generation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from authz.decision import Reason
from authz.vocabulary import MCP_KINDS, kind_of
from policies import globs, when
from policies.naming import FAMILY_OF_KIND, plain

EVERY_MODEL = "models-of:*"  # depends on the models of all accounts
EVERY_OFFER = "offers-of:*"  # depends on what all MCP servers offer
OFFERS_OF = "offers-of:"
_PERSON = re.compile(r"user:[^/\s#]+")


class Form(StrEnum):
    """How a mention is written."""

    SUBJECT = "subject"  # user:…, team:…, virtualaccount:…, role:…, any:…
    PERSON = "person"  # an e-mail, or user:…
    TEAM = "team"  # the name alone
    ROLE = "role"  # the name alone
    RESOURCE = "resource"  # an id or a pattern
    QUALIFIED = "qualified"  # a resource as permissions name it, with its type
    TARGET = "target"  # <account>/<model>
    ACCOUNT = "account"  # a provider account's name alone
    SERVER = "server"  # an MCP server's name alone
    PART = "part"  # an MCP server of a virtual one, by its name alone


@dataclass(frozen=True, slots=True)
class Mention:
    """One mention: its text, its form, where it stands, and what the walk knows about it.

    `deny` marks a mention that binds all generations, as in a deny rule. `resource_type` goes with
    QUALIFIED.
    """

    form: Form
    text: str
    path: str
    deny: bool = False
    resource_type: str = ""


Visit = Callable[[Mention], str]


def rewrite(data: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    """The mapping of a document with every mention replaced by what `visit` answers."""
    family = str(data["type"]).partition("/")[0]
    fresh = dict(data)
    walk = _WALKS.get(family)
    if walk is not None:
        walk(fresh, visit)
    return fresh


def _list(
    data: dict[str, Any], field: str, form: Form, visit: Visit, at: str = "", deny: bool = False
) -> None:
    if data.get(field) is not None:
        data[field] = [
            visit(Mention(form, text, f"{at}{field}.{place}", deny))
            for place, text in enumerate(data[field])
        ]


def _one(data: dict[str, Any], field: str, form: Form, visit: Visit, at: str = "") -> None:
    if data.get(field) is not None:
        data[field] = visit(Mention(form, data[field], f"{at}{field}"))


def _each(data: dict[str, Any], field: str) -> list[tuple[str, dict[str, Any]]]:
    """The mappings of a list, copied in place, each with its path."""
    items = data.get(field)
    if items is None:
        return []
    data[field] = [dict(item) for item in items]
    return [(f"{field}.{place}.", item) for place, item in enumerate(data[field])]


def _owner(data: dict[str, Any], visit: Visit) -> None:
    if data.get("ownedBy"):
        data["ownedBy"] = dict(data["ownedBy"])
        _one(data["ownedBy"], "team", Form.TEAM, visit, "ownedBy.")


def _user(data: dict[str, Any], visit: Visit) -> None:
    _list(data, "roles", Form.ROLE, visit)


def _team(data: dict[str, Any], visit: Visit) -> None:
    _list(data, "managers", Form.PERSON, visit)
    _list(data, "members", Form.PERSON, visit)
    _list(data, "roles", Form.ROLE, visit)
    _owner(data, visit)


def _role(data: dict[str, Any], visit: Visit) -> None:
    for at, grant in _each(data, "grants"):
        _list(grant, "resources", Form.RESOURCE, visit, at)


def _permission(item: dict[str, Any], visit: Visit, at: str, names: tuple[str, str, str]) -> None:
    fqn, kind, role = names
    item[fqn] = visit(
        Mention(Form.QUALIFIED, item[fqn], f"{at}{fqn}", resource_type=str(item[kind]))
    )
    _one(item, role, Form.ROLE, visit, at)


def _role_binding(data: dict[str, Any], visit: Visit) -> None:
    for at, bound in _each(data, "subjects"):
        answer = visit(Mention(Form.SUBJECT, f"{bound['type']}:{bound['name']}", f"{at}name"))
        bound["name"] = answer.partition(":")[2]
    for at, permission in _each(data, "permissions"):
        _permission(permission, visit, at, ("resourceFqn", "resourceType", "role"))


def _virtual_account(data: dict[str, Any], visit: Visit) -> None:
    for at, permission in _each(data, "permissions"):
        _permission(permission, visit, at, ("resource_fqn", "resource_type", "role_id"))
    _list(data, "roles", Form.ROLE, visit)
    _owner(data, visit)
    _one(data, "bounded_by", Form.TEAM, visit)


def _provider_account(data: dict[str, Any], visit: Visit) -> None:
    for at, grant in _each(data, "collaborators"):
        _one(grant, "subject", Form.SUBJECT, visit, at)
        _one(grant, "role_id", Form.ROLE, visit, at)
    for at, model in _each(data, "integrations"):
        _list(model, "authorized_subjects", Form.SUBJECT, visit, at)
        if model.get("routing_config"):
            model["routing_config"] = dict(model["routing_config"])
            for inner, target in _each(model["routing_config"], "targets"):
                _one(target, "target", Form.TARGET, visit, f"{at}routing_config.{inner}")
    _owner(data, visit)


def _mcp_server(data: dict[str, Any], visit: Visit) -> None:
    for at, grant in _each(data, "collaborators"):
        _one(grant, "subject", Form.SUBJECT, visit, at)
        _one(grant, "role_id", Form.ROLE, visit, at)
    for at, part in _each(data, "servers"):
        _one(part, "name", Form.PART, visit, at)
    _owner(data, visit)


def _mcp_catalogue(data: dict[str, Any], visit: Visit) -> None:
    visit(Mention(Form.SERVER, data["name"], "name"))  # its name is what it mentions, and stays


def _policy(data: dict[str, Any], visit: Visit) -> None:
    for at, rule in _each(data, "rules"):
        deny = rule.get("effect") == "deny"
        _list(rule, "subjects", Form.SUBJECT, visit, at, deny)
        _list(rule, "resources", Form.RESOURCE, visit, at, deny)
        for inner, test in _each(rule, "when"):
            _values(test, visit, f"{at}{inner}value", str(rule.get("effect")))
    for at, case in _each(data, "cases"):
        _case(case, visit, at)


def _case(case: dict[str, Any], visit: Visit, at: str) -> None:
    """A case binds the generation of today; what is expected not to exist stays as it is written."""
    _one(case, "as", Form.SUBJECT, visit, at)
    _one(case, "bound", Form.TEAM, visit, at)
    if case.get("reason") != Reason.UNKNOWN_RESOURCE:
        _one(case, "resource", Form.RESOURCE, visit, at)
    if case.get("rule"):
        # A rule's id may name a person, whose address must not get into the log.
        case["rule"] = _PERSON.sub(
            lambda found: visit(Mention(Form.SUBJECT, found[0], f"{at}rule")), case["rule"]
        )


def _values(test: dict[str, Any], visit: Visit, at: str, effect: str) -> None:
    field, operator, value = str(test["field"]), str(test["operator"]), test.get("value")
    every = when.binds_every_generation(effect, operator)

    def one(value: Any) -> Any:
        form = when.named_as(field, operator, value)
        return value if form is None else visit(Mention(Form(form), value, at, every))

    if value is not None:
        test["value"] = [one(item) for item in value] if isinstance(value, list) else one(value)


def _resource_group(data: dict[str, Any], visit: Visit) -> None:
    _list(data, "resources", Form.RESOURCE, visit)


def _data_access(data: dict[str, Any], visit: Visit) -> None:
    for at, rule in _each(data, "rules"):
        _list(rule, "subjects", Form.SUBJECT, visit, at)
        for inner, one in _each(rule, "filters"):
            if one.get("field") == "created_by":
                every = when.binds_every_generation("allow", str(one.get("operator")))
                _list(one, "value", Form.SUBJECT, visit, f"{at}{inner}", every)


def _metadata(data: dict[str, Any], visit: Visit) -> None:
    for at, rule in _each(data, "rules"):
        _list(rule, "subjects", Form.SUBJECT, visit, at)


def _logging(data: dict[str, Any], visit: Visit) -> None:
    for at, rule in [("", data), *_each(data, "rules")]:
        if not rule.get("when"):
            continue
        rule["when"] = when_ = dict(rule["when"])
        if when_.get("subjects"):
            when_["subjects"] = test = dict(when_["subjects"])
            # A rule that protects holds for whoever ever has the name; one that records, for today's.
            protects = rule.get("log") not in (True, "always")
            inner = f"{at}when.subjects."
            for name in ("in", "in_"):
                _list(test, name, Form.SUBJECT, visit, inner, protects)
            _list(test, "not_in", Form.SUBJECT, visit, inner, not protects)


def _credential(data: dict[str, Any], visit: Visit) -> None:
    _one(data, "subject", Form.SUBJECT, visit)
    _one(data, "team", Form.TEAM, visit)
    for at, restriction in _each(data, "restrictions"):
        _list(restriction, "resources", Form.RESOURCE, visit, at)


_WALKS: Mapping[str, Callable[[dict[str, Any], Visit], None]] = {
    "user": _user,
    "team": _team,
    "role": _role,
    "role-binding": _role_binding,
    "virtual-account": _virtual_account,
    "provider-account": _provider_account,
    "mcp-server": _mcp_server,
    "mcp-catalogue": _mcp_catalogue,
    "policy": _policy,
    "resource-group": _resource_group,
    "gateway-data-access-config": _data_access,
    "gateway-metadata-config": _metadata,
    "gateway-logging-config": _logging,
    "credential": _credential,
}


def mentions_of(stored: Mapping[str, Any]) -> frozenset[str]:
    """What a stored document depends on: `team:search`, `role:auditor`, `models-of:acme`, …

    Tokens carry no generation, so that whoever mentions a name is found when the name is taken again.
    """
    found: set[str] = set()

    def visit(mention: Mention) -> str:
        found.update(_tokens(mention))
        return mention.text

    rewrite(stored, visit)
    if stored["type"] == "team":
        found.add("role:team-manager")  # what managers hold: see `compile.TEAM_MANAGER`
    return frozenset(found)


def _tokens(mention: Mention) -> tuple[str, ...]:
    text = mention.text
    match mention.form:
        case Form.TEAM:
            return (f"team:{plain(text)}",)
        case Form.ROLE:
            return (f"role:{plain(text)}",)
        case Form.TARGET:
            return ()  # an alias is linked whether or not its target exists
        case Form.ACCOUNT:
            return (f"provider-account:{plain(text)}",)
        case Form.SERVER:
            return (f"mcp-server:{plain(text)}",)
        case Form.PART:
            return (f"mcp-server:{plain(text)}", f"{OFFERS_OF}{plain(text)}")
        case Form.SUBJECT | Form.PERSON:
            return (token_of(text),) if kind_of(text) in FAMILY_OF_KIND else ()
    if kind_of(text) in MCP_KINDS:
        return _offer_tokens(text, mention.deny)
    if kind_of(text) != "model":
        return (token_of(text),) if kind_of(text) in FAMILY_OF_KIND else ()
    account = text.partition(":")[2].partition("/")[0]
    if globs.is_glob(account) or (mention.deny and globs.is_glob(text)):
        return (EVERY_MODEL,)
    return (f"models-of:{plain(account)}",)


def _offer_tokens(text: str, deny: bool) -> tuple[str, ...]:
    server = text.partition(":")[2].partition("/")[0]
    if globs.is_glob(server) or (deny and globs.is_glob(text)):
        return (EVERY_OFFER,)
    return (f"mcp-server:{plain(server)}", f"{OFFERS_OF}{plain(server)}")


_SAME_DOCUMENT = {"open-models": "provider-account", "open-group": "resource-group"}


def token_of(thing: str) -> str:
    """The token of an id: without its generation, and with accounts under one kind."""
    kind, _, name = thing.partition(":")
    if kind == "user":
        return thing
    return f"{_SAME_DOCUMENT.get(kind, kind)}:{plain(name)}"
