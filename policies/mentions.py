"""Whether what a document mentions is well written, exists and fits: subjects, roles, actions, resources.

The checks that all kinds of documents share; `Findings` collects problems at their places. An e-mail that
no user document names is fine (it becomes an invited user), a malformed one is not. One part of `validate`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from authz.errors import InvalidId
from authz.vocabulary import MCP_KINDS, WILD_ACTION, Action, escape, kind_of, split_id
from policies import globs
from policies.documents import Document
from policies.errors import PolicyError, Problem
from policies.fits import (
    ANY_OBJECTS,
    ANY_SUBJECTS,
    DATA_RELATIONS,
    DATA_TYPES,
    SINGLE_OBJECTS,
    fits,
)
from policies.loader import Located
from policies.naming import CONFIG_FAMILIES, EVERYONE, is_email, is_user_id
from policies.nearest import did_you_mean
from policies.positions import Path
from policies.things import RoleFact, Things
from policies.truefoundry import (
    PERMISSIONS,
    SUBJECT_ALIASES,
    UNSUPPORTED_SUBJECTS,
    actions_of,
    resource_of,
    subject_of,
)

SUBJECT_KINDS = ("user", "team", "virtualaccount", "role", "any")

# From the kind in an id to the family of the documents that describe such things, and their word.
_FAMILIES = {
    "mcp-server": ("mcp-server", "MCP server"),
    "policy": ("policy", "policy"),
    "provider-account": ("provider-account", "provider account"),
    "resource-group": ("resource-group", "resource group"),
    "role": ("role", "role"),
    "role-binding": ("role-binding", "role binding"),
    "team": ("team", "team"),
    "virtualaccount": ("virtual-account", "virtual account"),
}

Doc = Located[Document]


@dataclass(slots=True)
class Findings:
    """Problems, each at the place of a value inside a located document."""

    problems: list[Problem] = field(default_factory=list)

    def error(self, doc: Doc, path: Path, code: str, message: str, hint: str = "") -> None:
        self._add(doc, path, code, message, hint, "error")

    def warn(self, doc: Doc, path: Path, code: str, message: str, hint: str = "") -> None:
        self._add(doc, path, code, message, hint, "warning")

    def _add(
        self,
        doc: Doc,
        path: Path,
        code: str,
        message: str,
        hint: str,
        severity: Literal["error", "warning"],
    ) -> None:
        place, key = doc.at(*path), doc.document.key
        self.problems.append(Problem(doc.file, *place, code, message, hint, severity, path, key))


@dataclass(slots=True)
class Mentions:
    """The shared checks. Each reports into `found`; none raises."""

    things: Things
    found: Findings

    # -- subjects ------------------------------------------------------------------------------------

    def subjects(self, doc: Doc, path: Path, written: tuple[str, ...]) -> None:
        """A list of subjects; the same one twice is said."""
        seen: set[str] = set()
        for index, subject in enumerate(written):
            self.subject(doc, (*path, index), subject)
            folded = subject_of(subject)
            folded = folded.casefold() if folded.startswith("user:") else folded
            if folded in seen:
                self.found.warn(
                    doc, (*path, index), "repeated", f"`{subject[:80]}` stands twice", "remove one"
                )
            seen.add(folded)

    def subject(self, doc: Doc, path: Path, written: str) -> None:
        """A subject of a grant or rule: `user:<email>`, `team:`, `virtualaccount:`, `role:`, `any:`."""
        kind, colon, name = written.partition(":")
        if not colon or not name:
            hint = "write `user:<e-mail>`, `team:<name>`, `virtualaccount:<name>` or `role:<name>`"
            if is_email(written):
                hint = f"write `user:{written}`"
            self.found.error(doc, path, "bad_subject", f"`{written[:80]}` is not a subject", hint)
            return
        if kind in SUBJECT_ALIASES:
            self.found.warn(
                doc, path, "legacy_name", f"`{kind}:` is an old spelling", "write `virtualaccount:`"
            )
            kind = SUBJECT_ALIASES[kind]
        match kind:
            case "user":
                self.person(doc, path, name)
            case "team":
                self.team(doc, path, name)
            case "virtualaccount":
                self.thing(doc, path, "virtualaccount", name)
            case "role":
                self.tenant_role(doc, path, name)
            case "any":
                self._any_subject(doc, path, written)
            case _:
                self._no_subject(doc, path, kind)

    def _any_subject(self, doc: Doc, path: Path, written: str) -> None:
        if written not in ANY_SUBJECTS:
            listed = "one of " + ", ".join(sorted(ANY_SUBJECTS))
            hint = did_you_mean(written, ANY_SUBJECTS, listed)
            message = f"`{written[:80]}` is not a group of subjects"
            self.found.error(doc, path, "bad_subject", message, hint)

    def _no_subject(self, doc: Doc, path: Path, kind: str) -> None:
        if kind in UNSUPPORTED_SUBJECTS:
            message = f"subjects of the kind `{kind}` are not supported yet"
            self.found.error(doc, path, "unsupported_subject", message)
            return
        hint = did_you_mean(kind, SUBJECT_KINDS, "one of " + ", ".join(SUBJECT_KINDS))
        self.found.error(doc, path, "bad_subject", f"`{kind[:80]}` is not a kind of subject", hint)

    def person(self, doc: Doc, path: Path, name: str) -> None:
        """An e-mail, or the id of a stored user."""
        if is_user_id(name):
            if not self.things.has("user", name):
                message = f"the user `{name[:80]}` does not exist"
                self.found.error(doc, path, "dangling", message, "name people by their e-mail")
        elif not is_email(name):
            message = f"`{name[:80]}` is not an e-mail address"
            self.found.error(doc, path, "bad_email", message, "write it as `name@example.com`")

    def team(self, doc: Doc, path: Path, name: str) -> None:
        """A team that is declared, or `everyone`."""
        if f"team:{name}" != EVERYONE:
            self.thing(doc, path, "team", name)

    def thing(self, doc: Doc, path: Path, kind: str, name: str) -> bool:
        """Whether the thing of that kind exists; if not, that is reported with the nearest name."""
        family, word = _FAMILIES[kind]
        if self.things.has(family, name):
            return True
        hint = did_you_mean(name, self.things.names(family), "declare it, or correct the name")
        self.found.error(doc, path, "dangling", f"the {word} `{name[:80]}` does not exist", hint)
        return False

    # -- roles ---------------------------------------------------------------------------------------

    def tenant_role(self, doc: Doc, path: Path, name: str) -> None:
        """A role that subjects may hold."""
        role = self._role(doc, path, name)
        if role is not None and not role.tenant:
            self.found.error(
                doc,
                path,
                "wrong_role",
                f"`{name}` is a role on one kind of thing, not a tenant role",
                "grant it on a thing, as a collaborator or a permission",
            )

    def resource_role(self, doc: Doc, path: Path, name: str, resource: str) -> None:
        """A role that may be granted on `resource` ('' = whatever it is, it was reported)."""
        role = self._role(doc, path, name)
        if role is None:
            return
        if role.tenant:
            self.found.error(
                doc,
                path,
                "wrong_role",
                f"`{name}` is a tenant role and cannot be granted on one thing",
                "put it under the `roles` of the user, team or virtual account",
            )
        elif resource and role.actions and not any(fits(a, resource) for a in role.actions):
            kind = resource.partition(":")[0]
            self.found.error(
                doc,
                path,
                "wrong_role",
                f"`{name}` holds no action that can be asked on a {kind}",
                "use a role for that kind of thing",
            )

    def _role(self, doc: Doc, path: Path, name: str) -> RoleFact | None:
        return self.things.role(name) if self.thing(doc, path, "role", name) else None

    # -- actions -------------------------------------------------------------------------------------

    def action(self, doc: Doc, path: Path, written: str, *, wild: bool) -> tuple[str, ...]:
        """The actions that `written` stands for; () when it is unknown or not allowed here."""
        if written == WILD_ACTION:
            if wild:
                return (WILD_ACTION,)
            self.found.error(
                doc,
                path,
                "wild_action",
                "`*` may stand on a deny only",
                "name the actions, or give a role such as `tenant-admin`",
            )
            return ()
        try:
            return tuple(action.value for action in actions_of(written))
        except PolicyError as error:
            known = [*(action.value for action in Action), *PERMISSIONS]
            hint = error.hint or did_you_mean(written, known)
            self.found.error(doc, path, "unknown_action", error.message, hint)
            return ()

    # -- resources -----------------------------------------------------------------------------------

    def named_resource(self, doc: Doc, path: Path, fqn: str, resource_type: str) -> str:
        """The id that a permission names; '' when it is wrong or does not exist."""
        try:
            resource = resource_of(fqn, resource_type)
        except PolicyError as error:
            self.found.error(doc, path, error.code, error.message, error.hint)
            return ""
        except ValueError:
            self.found.error(doc, path, "bad_resource", "the name of a resource is not usable")
            return ""
        return resource if self.exists(doc, path, resource) else ""

    def resource(
        self, doc: Doc, path: Path, written: str, *, bound: bool, groups: bool = True
    ) -> str:
        """A resource of a rule: the checked id or pattern, '' when it is wrong.

        `bound`: a pattern must stay inside one account. `groups`: groups of things may be named.
        """
        kind, colon, name = written.partition(":")
        if globs.is_glob(written):
            return written if self._glob(doc, path, written, bound=bound) else ""
        if not colon or not name:
            hint = f"write `model:{written[:80]}`" if "/" in written else "write `<kind>:<name>`"
            message = f"`{written[:80]}` is not a resource"
            self.found.error(doc, path, "bad_resource", message, hint)
            return ""
        if not groups and kind in ("any", "data", "resource-group", "self", "settings"):
            self.found.error(
                doc,
                path,
                "bad_resource",
                f"a resource group cannot hold `{written[:80]}`",
                "it holds single things and patterns of one account, not other groups",
            )
            return ""
        return written if self.exists(doc, path, written) else ""

    def _glob(self, doc: Doc, path: Path, pattern: str, *, bound: bool) -> bool:
        if not globs.is_valid(pattern):
            self.found.error(
                doc,
                path,
                "bad_pattern",
                f"`{pattern[:80]}` is not a pattern",
                "as `model:<account>/<model>` or `mcp-tool:<server>/<tool>`, with `*` and `?`",
            )
            return False
        account = globs.account_of(pattern)
        if account is None:
            if bound:
                self.found.error(
                    doc,
                    path,
                    "unbound_pattern",
                    f"`{pattern[:80]}` reaches across "
                    + ("MCP servers" if kind_of(pattern) in MCP_KINDS else "provider accounts"),
                    "name one; only a deny may span all of them",
                )
            return not bound
        if kind_of(pattern) in MCP_KINDS:
            if not self.thing(doc, path, "mcp-server", account):
                return False
            offers = self.things.offers(account)
            if offers is not None and not any(globs.matches(pattern, one.id) for one in offers):
                message = f"`{pattern[:80]}` matches nothing that the server offers at present"
                self.found.warn(doc, path, "matches_nothing", message)
            return True
        if not self.thing(doc, path, "provider-account", account):
            return False
        models = self.things.models(account)
        if models is not None and not any(
            globs.matches(pattern, f"model:{account}/{model}") for model in models
        ):
            message = f"`{pattern[:80]}` matches no model at present"
            self.found.warn(doc, path, "matches_nothing", message)
        return True

    def exists(self, doc: Doc, path: Path, resource: str) -> bool:
        """Whether the id names a thing; if not, that is reported."""
        kind, _, name = resource.partition(":")
        known: list[str] = []
        match kind:
            case "any":
                known = sorted(ANY_OBJECTS)
            case "data":
                known = [f"data:{t}/{r}" for t in DATA_TYPES for r in DATA_RELATIONS]
            case "model":
                return self.model(doc, path, name)
            case _ if kind in MCP_KINDS:
                return self.offer(doc, path, resource)
            case "user":
                before = len(self.found.problems)
                self.person(doc, path, name)
                return len(self.found.problems) == before
            case "gateway-config":
                if self._is_config(name):
                    return True
                known = [f"gateway-config:{each}" for each in self._configs()]
            case _ if kind in _FAMILIES:
                return resource == EVERYONE or self.thing(doc, path, kind, name)
            case _:
                known = [*SINGLE_OBJECTS, *(f"{each}:{name}" for each in (*_FAMILIES, "model"))]
                if resource not in SINGLE_OBJECTS:
                    hint = did_you_mean(resource, known, "write `<kind>:<name>`")
                    message = f"`{resource[:80]}` is not a resource"
                    self.found.error(doc, path, "bad_resource", message, hint)
                    return False
        if resource in known:
            return True
        hint = did_you_mean(resource, known, "one of " + ", ".join(known) if known else "")
        self.found.error(doc, path, "bad_resource", f"`{resource[:80]}` is not a resource", hint)
        return False

    def _configs(self) -> list[str]:
        return [name for family in CONFIG_FAMILIES for name in self.things.names(family)]

    def _is_config(self, name: str) -> bool:
        return any(self.things.has(family, name) for family in CONFIG_FAMILIES)

    def offer(self, doc: Doc, path: Path, thing: str) -> bool:
        """Whether the MCP server exists; that it does not offer the thing is only said, for it may later."""
        kind, _, name = thing.partition(":")
        server, _, inner = name.partition("/")
        if not server or not inner:
            message = f"`{thing[:80]}` names nothing of a server"
            self.found.error(doc, path, "bad_resource", message, f"write `{kind}:<server>/<name>`")
            return False
        try:
            split_id(thing)
        except InvalidId:
            written = f"{kind}:{server}/{escape(inner)}"
            message = f"`{thing[:80]}` is not written as an id"
            self.found.error(doc, path, "bad_resource", message, f"write `{written[:200]}`")
            return False
        if not self.thing(doc, path, "mcp-server", server):
            return False
        offers = self.things.offers(server)
        if offers is not None and all(one.id != thing for one in offers):
            known = [unquote(one.id.partition("/")[2]) for one in offers if kind_of(one.id) == kind]
            message = f"the MCP server `{server}` offers no `{unquote(inner)[:80]}` at present"
            hint = did_you_mean(unquote(inner), known, "the rule holds as soon as it does")
            self.found.warn(doc, path, "not_offered", message, hint)
        return True

    def model(self, doc: Doc, path: Path, name: str) -> bool:
        """Whether `<account>/<model>` is declared; if not, that is reported."""
        account, slash, model = name.partition("/")
        if not slash or not account or not model:
            message = f"`{name[:80]}` is not a model"
            self.found.error(doc, path, "bad_resource", message, "write `<account>/<model>`")
            return False
        if not self.thing(doc, path, "provider-account", account):
            return False
        declared = self.things.models(account)
        if declared is None or model in declared:
            return True
        hint = did_you_mean(model, declared, "declare it under `integrations`, or correct the name")
        message = f"the provider account `{account}` has no model `{model[:80]}`"
        self.found.error(doc, path, "dangling", message, hint)
        return False
