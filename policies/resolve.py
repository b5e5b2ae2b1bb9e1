"""A document as written becomes the document to store: names bound, people known by id, secrets sealed.

An allow binds the generation of now; a deny keeps the plain name, which stands for all generations.
An e-mail that nobody has yet makes an invited user. Problems are collected, never raised one by one.
`planning` calls this once what it asks about is loaded; `rendered` is the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from authz.errors import GatewardenError
from authz.vocabulary import MCP_KINDS, Kind, kind_of, model_id, split_id
from policies import globs
from policies.change import Change, Person
from policies.documents import Document, User, dump
from policies.errors import Problem
from policies.estate import VIRTUAL_MODEL, Draft, Estate, Stored
from policies.naming import (
    EVERYONE,
    FAMILY_OF_KIND,
    OPAQUE_FAMILIES,
    Key,
    is_email,
    is_user_id,
    label,
    plain,
    plain_key,
    split_generation,
    with_generation,
)
from policies.ports import Vault
from policies.references import Form, Mention, rewrite
from policies.secrets import SecretRefused, seal_all
from policies.truefoundry import resource_of, subject_of

VIRTUAL_SERVER = "mcp-server/virtual"
_MEMBERS = frozenset({Kind.MODEL, Kind.PROVIDER_ACCOUNT, Kind.MCP_SERVER, *MCP_KINDS})
# Ids that start with the name of the account or server that they are part of.
_WITHIN = frozenset({Kind.MODEL.value, Kind.OPEN_MODELS.value, *(k.value for k in MCP_KINDS)})


class PeopleNamed:
    """Everybody whom a change names: addresses (casefolded) and user ids."""

    def __init__(self) -> None:
        self.emails: set[str] = set()
        self.ids: set[str] = set()

    def look(self, change: Change) -> Iterator[None]:
        """Goes through the documents; yields after each."""
        for document in change.puts:
            rewrite(dump(document), self._visit)
            if isinstance(document, User):
                self._addresses(document.name, document.email)
            yield
        self._addresses(*(name for family, name in change.deletes if family == "user"))
        self._addresses(*(name for family, name in change.expect if family == "user"))

    def _addresses(self, *texts: str | None) -> None:
        self.emails.update(text.casefold() for text in texts if text and "@" in text)

    def _visit(self, mention: Mention) -> str:
        text = mention.text
        if mention.form is Form.PERSON or text.startswith("user:"):
            name = text.removeprefix("user:")
            if "@" in name:
                self.emails.add(name.casefold())
            elif is_user_id(name):
                self.ids.add(name)
        return text


class Resolver:
    """Resolves the documents of one change. `problems`, `people` and `invited` fill as it goes."""

    def __init__(
        self, estate: Estate, draft: Draft, new_id: Callable[[str], str], vault: Vault | None
    ) -> None:
        self._estate = estate
        self._draft = draft
        self._new_id = new_id
        self._vault = vault
        self.problems: list[Problem] = []
        self.people: dict[str, Person] = {}  # user id -> person to write
        self.readdressed: set[str] = set()  # user ids whose address becomes another
        self.invited: dict[str, User] = {}  # user id -> document
        self._ids: dict[str, str] = {}  # casefolded e-mail -> user id, new ones
        self._known: set[str] = set()  # user ids that this change makes

    # --- keys ---

    def key_of(self, key: Key) -> Key:
        """The stored key of what is called `key` now (or would be, if it is new)."""
        family, name = key
        if family == "user":
            return (family, self._user_id(name) or name)
        if family in OPAQUE_FAMILIES:
            return key
        bare, generation = split_generation(name)
        if generation > 1 or self._draft.fact(key) is not None:
            return key
        return (family, self._draft.current(family, bare) or name)

    def new_key(self, document: Document) -> Key:
        """The stored key of a document that is to be put: of now, of its next generation, or new."""
        family, name = document.key
        if isinstance(document, User):
            if "@" not in name:
                return document.key
            if self._email_is_wrong(name, document.key, "name"):
                return document.key
            found = self._user_id(name)
            if found is None:
                found = self._new_id(name.casefold())
                self._ids[name.casefold()] = found
            self._known.add(found)
            return (family, found)
        if family in OPAQUE_FAMILIES:
            return document.key
        bare, generation = split_generation(name)
        current = self._draft.current(family, bare)
        if generation > 1 and name != current:
            self._problem(
                document.key, "invalid_name", f"`{name}` is not a name", "leave `~` out", "name"
            )
        if current is not None:
            return (family, current)
        other = self._draft.spelling(family, bare)
        if other is not None and other != bare:
            hint = "names differ in more than upper and lower case"
            self._problem(
                document.key, "name_taken", f"`{bare}` is too close to `{other}`", hint, "name"
            )
        return (family, with_generation(bare, self._draft.latest(family, bare) + 1))

    def heir(self, name: str, team: Key) -> str | None:
        """The stored name of the team that takes over what the deleted `team` owns; None is a problem."""
        found = self._draft.current("team", split_generation(name)[0])
        if found is None:
            hint = "name a team that stays"
            self._problem(
                team, "dangling_reference", f"there is no team `{name[:80]}`", hint, "reassign_to"
            )
        return found

    def _user_id(self, email: str) -> str | None:
        if "@" not in email:
            return email
        known = self._estate.person(email)
        return known.id if known is not None else self._ids.get(email.casefold())

    # --- documents ---

    def document(self, written: Document, key: Key, before: Stored | None) -> dict[str, Any]:
        """The mapping to store for a document as written, whose stored key is `key`."""

        def visit(mention: Mention) -> str:
            return self._mention(mention, key)

        data = rewrite(dump(written), visit)
        data["name"] = key[1]
        held = dump(before.document) if before is not None else None
        match key[0]:
            case "user":
                self._user(data, written, key, held)
            case "virtual-account":
                self._virtual_account(data, key, held)
            case "credential":
                self._credential(data, key, held)
            case "provider-account" | "mcp-server":
                virtual = (VIRTUAL_MODEL, VIRTUAL_SERVER)
                if held is not None and any(v in (held["type"], data["type"]) for v in virtual):
                    self._same_type(data, key, held)
                try:
                    seal_all(key, data, held, self._vault)
                except SecretRefused as refused:
                    self._problem(key, refused.code, refused.message, refused.hint, refused.field)
        return data

    def _user(
        self, data: dict[str, Any], written: Document, key: Key, held: Mapping[str, Any] | None
    ) -> None:
        """Personal attributes go to `people`; what is not said about state and roles stays."""
        assert isinstance(written, User)
        old = self._estate.people.get(key[1])
        email = written.email or (written.name if "@" in written.name else None)
        email = email or (old.email if old is not None else None)
        data.pop("email", None)
        shown = data.pop("displayName", None) or (old.display_name if old is not None else None)
        if held is None and "@" not in written.name and key[1] not in self._known:
            self._problem(
                key, "unknown_user", f"there is no user `{key[1]}`", "name the e-mail", "name"
            )
        elif email is not None and not self._email_is_wrong(email, key, "email"):
            owner = self._estate.person(email)
            if owner is not None and owner.id != key[1]:
                self._problem(
                    key, "email_taken", f"`{email}` is another user's address", at="email"
                )
            if old is not None and old.email.casefold() == email.casefold():
                email = old.email  # an address that differs in case only is no change
            elif old is not None:
                self.readdressed.add(key[1])
            person = Person(key[1], email, shown)
            if person != old:
                self.people[key[1]] = person
        if held is None:
            return
        if "roles" not in data and "roles" in held:
            data["roles"] = held["roles"]
        said = "state" in data or "suspended_by" in data
        if not said and (held.get("state") == "suspended" or held.get("suspended_by")):
            # Only a state that is said lifts a suspension; an invitation ends by being written.
            data.update({f: held[f] for f in ("state", "suspended_by") if f in held})

    def _virtual_account(
        self, data: dict[str, Any], key: Key, held: Mapping[str, Any] | None
    ) -> None:
        """INVARIANT: `bounded_by` is the server's and survives every edit."""
        bound = held.get("bounded_by") if held is not None else None
        if data.get("bounded_by") not in (None, bound):
            self._problem(
                key, "read_only", "`bounded_by` is set by the server", "leave it out", "bounded_by"
            )
        data.pop("bounded_by", None)
        if bound is not None:
            data["bounded_by"] = bound
        if held is not None and "state" not in data and held.get("state") == "suspended":
            data["state"] = "suspended"

    def _credential(self, data: dict[str, Any], key: Key, held: Mapping[str, Any] | None) -> None:
        for field in ("subject", "digest", "token_kind") if held is not None else ():
            if held is not None and data.get(field) != held.get(field):
                self._problem(key, "read_only", f"`{field}` of a credential never changes")

    def _same_type(self, data: dict[str, Any], key: Key, held: Mapping[str, Any]) -> None:
        """An account never turns into aliases, or back: what stands for it was judged as what it is. Nor does
        an MCP server."""
        if data["type"] != held["type"]:
            hint = "delete it first, or choose another name"
            self._problem(
                key, "type_changed", f"a `{held['type']}` cannot become another", hint, "type"
            )

    # --- mentions ---

    def _mention(self, mention: Mention, key: Key) -> str:
        try:
            return self._bound(mention, key)
        except GatewardenError as error:
            self._problem(key, error.code, error.message, error.hint, mention.path)
            return mention.text

    def _bound(self, mention: Mention, key: Key) -> str:
        text = mention.text
        match mention.form:
            case Form.PERSON:
                return self._person(text.removeprefix("user:"), key, mention.path)
            case Form.TEAM | Form.ROLE:
                return self._name(mention.form.value, text, key, mention)
            case Form.ACCOUNT:
                return self._name("provider-account", text, key, mention)
            case Form.SERVER:
                return self._name("mcp-server", text, key, mention)
            case Form.PART:
                return self._part(text, key, mention)
            case Form.SUBJECT:
                return self._subject(subject_of(text), key, mention)
            case Form.TARGET:
                account, _, model = text.partition("/")
                made = self._resource(model_id(account, model), key, mention).partition(":")[2]
                fact = self._draft.fact(("provider-account", made.partition("/")[0]))
                if fact is not None and fact.virtual:
                    self._problem(
                        key,
                        "invalid_target",
                        f"`{text[:80]}` is a virtual model itself",
                        at=mention.path,
                    )
                return made
            case Form.QUALIFIED:
                return self._resource(resource_of(text, mention.resource_type), key, mention)
            case Form.RESOURCE:
                return self._resource(subject_of(text), key, mention)

    def _part(self, text: str, key: Key, mention: Mention) -> str:
        """The server of a composition, which is not one itself."""
        stored = self._name("mcp-server", text, key, mention)
        fact = self._draft.fact(("mcp-server", stored))
        if fact is not None and fact.virtual:
            hint = "name the servers that it is made of"
            message = f"`{text[:80]}` is a virtual server itself"
            self._problem(key, "invalid_target", message, hint, mention.path)
        return stored

    def _subject(self, text: str, key: Key, mention: Mention) -> str:
        kind, _, name = text.partition(":")
        if kind == "user":
            return self._person(name, key, mention.path)
        if kind == "any" or text == EVERYONE:
            return text
        if kind not in ("team", "virtualaccount", "role"):
            self._problem(
                key, "invalid_subject", f"`{text[:80]}` is not a subject", at=mention.path
            )
            return text
        return f"{kind}:{self._name(FAMILY_OF_KIND[kind], name, key, mention)}"

    def _person(self, name: str, key: Key, path: str) -> str:
        """`user:u-…` of an e-mail or a user id; somebody unknown is invited."""
        if is_user_id(name):
            known = name in self._known or self._estate.document(("user", name)) is not None
            if not known:
                self._problem(key, "dangling_reference", f"there is no user `{name}`", at=path)
            return f"user:{name}"
        if self._email_is_wrong(name, key, path):
            return f"user:{name}"
        found = self._user_id(name)
        if found is None:
            found = self._new_id(name.casefold())
            self._ids[name.casefold()] = found
            self._known.add(found)
            self.invited[found] = User(name=found, state="invited")
            self.people[found] = Person(found, name)
        return f"user:{found}"

    def _name(self, family: str, name: str, key: Key, mention: Mention) -> str:
        """The stored name of a thing of `family` called `name`; plain for a deny."""
        bare, generation = split_generation(name)
        current = self._draft.current(family, bare)
        if mention.deny and self._draft.latest(family, bare):
            return bare
        if current is None or (generation > 1 and name != current):
            self._problem(
                key, "dangling_reference", f"there is no {family} `{name[:80]}`", at=mention.path
            )
            return name
        return current

    def _resource(self, text: str, key: Key, mention: Mention) -> str:
        if globs.is_glob(text):
            return self._pattern(text, key, mention)
        kind, name = split_id(text)
        if key[0] == "resource-group" and kind not in _MEMBERS:
            self._problem(
                key,
                "invalid_member",
                f"`{text[:80]}` cannot be in a group",
                "a group holds models, provider accounts, MCP servers and what these offer",
                mention.path,
            )
            return text
        if kind is Kind.MODEL:
            account, _, model = name.partition("/")
            stored = self._name("provider-account", account, key, mention)
            made = f"{kind.value}:{stored}/{model}"
            missing = not mention.deny and made not in self._draft.models(stored)
            if missing and self._draft.current("provider-account", plain(account)) is not None:
                self._problem(
                    key, "dangling_reference", f"there is no model `{name[:80]}`", at=mention.path
                )
            return made
        if kind in MCP_KINDS:
            server, _, rest = name.partition("/")
            if not rest:
                message = f"`{text[:80]}` names nothing of a server"
                hint = f"write `{kind.value}:<server>/<name>`"
                self._problem(key, "bad_resource", message, hint, mention.path)
            # What a server offers is found later: only the server must be there.
            return f"{kind.value}:{self._name('mcp-server', server, key, mention)}/{rest}"
        if kind is Kind.USER:
            return self._person(name, key, mention.path)
        family = FAMILY_OF_KIND.get(kind.value)
        if family is None or text == EVERYONE:
            return text
        return f"{kind.value}:{self._name(family, name, key, mention)}"

    def _pattern(self, text: str, key: Key, mention: Mention) -> str:
        account = globs.account_of(text)
        if not globs.is_valid(text) or (account is None and not mention.deny):
            hint = (
                "a pattern is `model:<account>/<model>` or `mcp-tool:<server>/<tool>`; only a deny may span"
                " accounts and servers"
            )
            self._problem(
                key, "invalid_pattern", f"`{text[:80]}` cannot be used here", hint, mention.path
            )
            return text
        if account is None or mention.deny:
            return text
        family = "mcp-server" if kind_of(text) in MCP_KINDS else "provider-account"
        stored = self._name(family, account, key, mention)
        return f"{kind_of(text)}:{stored}/{text.partition('/')[2]}"

    # --- problems ---

    def _email_is_wrong(self, email: str, key: Key, path: str) -> bool:
        if is_email(email):
            return False
        self._problem(key, "invalid_email", f"`{email[:80]}` is not an e-mail address", at=path)
        return True

    def _problem(self, key: Key, code: str, message: str, hint: str = "", at: str = "") -> None:
        where = f"{label(plain_key(key))}: " + (f"{at}: " if at else "")
        path = tuple(int(part) if part.isdigit() else part for part in at.split(".")) if at else ()
        problem = Problem("request", 1, 1, code, where + message, hint, path=path, key=key)
        self.problems.append(problem)


def rendered(stored: Document, email: Callable[[str], str | None]) -> dict[str, Any]:
    """The mapping of a stored document as a person writes it; `email` answers a user id's address.

    Somebody without an address (erased) stays an id. The display name is not put back here.
    """

    def visit(mention: Mention) -> str:
        text = mention.text
        if mention.form is Form.PERSON or text.startswith("user:"):
            found = email(text.removeprefix("user:"))
            if mention.form is Form.PERSON:
                return found or text
            return f"user:{found}" if found else text
        if mention.form in (Form.TEAM, Form.ROLE):
            return plain(text)
        if mention.form is Form.TARGET or kind_of(text) in _WITHIN:
            account, slash, model = text.partition("/")
            return f"{plain(account)}{slash}{model}"
        return plain(text)

    data = rewrite(dump(stored), visit)
    data.pop("sources", None)
    if isinstance(stored, User):
        data["name"] = email(stored.name) or stored.name
    elif stored.key[0] not in OPAQUE_FAMILIES:
        data["name"] = plain(stored.name)
    return data
