"""The part of a plan about what ends with what: tokens with their owner, and what a deleted team owned."""

from __future__ import annotations

from collections.abc import Callable

from policies.change import Change, Ending
from policies.documents import Credential, Document, McpCatalogue, McpServer, Team, parse
from policies.drafting import Drafting, Touched
from policies.endings import blast_radius, cascades, moved, owner_of, still_owns
from policies.errors import GuardRefused
from policies.estate import Estate, Stored
from policies.naming import KIND_OF_FAMILY, Key, label, plain_key
from policies.ports import Vault
from policies.references import token_of


class Leaving(Drafting):
    """A plan in the making, once its documents are resolved. Methods are called in their order here."""

    def __init__(
        self, estate: Estate, change: Change, new_id: Callable[[str], str], vault: Vault | None
    ) -> None:
        super().__init__(estate, change, new_id, vault)
        self._left: dict[Key, list[Key]] = {}  # deleted team -> what nobody would own
        self._cascaded: dict[Key, list[Key]] = {}
        self._reassigned: dict[Key, list[Key]] = {}
        self._endings: tuple[Ending, ...] = ()

    def ending_tokens(self) -> frozenset[str]:
        """Whose mentions must be known to end what a deletion or a departure ends."""
        tokens = {token_of_key(key) for key in self._deletes if key[0] not in ("credential",)}
        for key, touched in self._work.items():
            if key[0] == "team" and _departed(touched):
                tokens.add(token_of_key(key))
        return frozenset(tokens)

    def pass_on(self) -> frozenset[str]:
        """What deleted teams own goes to another team, or virtual accounts end with it: as was said.

        Answers the tokens of all accounts that they own: what ends with them must be known.

        Raises:
            InvalidDocuments: there is no team to give it to. ManagedBy: another source owns it.
        """
        accounts: set[str] = set()
        for team in [key for key in self._deletes if key[0] == "team"]:
            for key in self._dependents(token_of_key(team)):
                document = self._standing(key)
                if document is None or owner_of(document) != team[1]:
                    continue
                if cascades(document):
                    accounts.add(token_of_key(key))
                self._pass_on(team, key, document)
        self._refuse_if_wrong()
        return frozenset(accounts)

    def _pass_on(self, team: Key, key: Key, document: Document) -> None:
        before = self._estate.document(key)
        assert before is not None
        if self._change.cascade and cascades(document):
            self._deletes.append(key)
            self._delete(key, before)
            self._cascaded.setdefault(team, []).append(key)
        elif self._change.reassign_to:
            heir = self._resolver.heir(self._change.reassign_to, team)
            if heir is not None:
                self._edit(key, parse(moved(document, team[1], heir)))
                self._reassigned.setdefault(team, []).append(key)
        else:
            self._left.setdefault(team, []).append(key)

    def _standing(self, key: Key) -> Document | None:
        """The document as it will stand, as far as it is known now."""
        touched = self._work.get(key)
        stored = self._estate.document(key)
        return touched.document if touched else (stored.document if stored else None)

    def end_credentials(self) -> None:
        """Credentials end with their owner, and team-bound ones when the owner leaves the team; what an MCP
        server was found to offer ends with the server.

        Raises:
            GuardRefused: deleted teams still own things.
        """
        for key in list(self._work):
            touched = self._work[key]
            gone = touched.after is None
            departed = _departed(touched) if key[0] == "team" else frozenset()
            if not gone and not departed:
                continue
            thing = f"{KIND_OF_FAMILY[key[0]].value}:{key[1]}"
            for other in self._dependents(token_of_key(key)):
                stored = self._estate.document(other)
                document = stored.document if stored is not None else None
                if (
                    gone
                    and isinstance(document, McpCatalogue)
                    and key == (McpServer.family, other[1])
                ):
                    self._end(other)
                if isinstance(document, Credential):
                    team = key[0] == "team" and document.team == key[1]
                    if (gone and (document.subject == thing or team)) or (
                        team and document.subject in departed
                    ):
                        self._end(other)
        teams = [key for key in self._deletes if key[0] == "team"]
        self._endings = tuple(self._ending(team) for team in sorted(teams))
        if self._left:
            left = {_name(team): map(_label, owned) for team, owned in self._left.items()}
            raise GuardRefused(
                still_owns(left, self._endings),
                hint="give them to another team (`reassign_to`, or `ownedBy`) or delete them "
                "(`cascade` deletes virtual accounts)",
            )

    def _ending(self, team: Key) -> Ending:
        """What ends with a team; while it cannot be deleted, as if all its accounts ended too."""
        before = document_of(self._estate.document(team))
        assert isinstance(before, Team)
        cascaded = self._cascaded.get(team, [])
        asked = [team, *cascaded, *self._left.get(team, [])]
        things = {f"{KIND_OF_FAMILY[key[0]].value}:{key[1]}" for key in asked}
        found = [
            document_of(self._estate.document(o))
            for k in asked
            for o in self._dependents(token_of_key(k))
        ]
        return blast_radius(
            _name(team),
            before,
            (
                one
                for one in found
                if isinstance(one, Credential) and (one.subject in things or one.team == team[1])
            ),
            accounts=map(_label, cascaded),
            reassigned=map(_label, self._reassigned.get(team, ())),
        )

    def _end(self, key: Key) -> None:
        before = self._estate.document(key)
        if before is not None and key not in self._work:
            self._work[key] = Touched(before, None, None, False)

    def _dependents(self, token: str) -> list[Key]:
        return sorted(self._estate.dependents.get(token, ()))


def _name(key: Key) -> str:
    return plain_key(key)[1]


def _label(key: Key) -> str:
    return label(plain_key(key))


def token_of_key(key: Key) -> str:
    """The token of a stored key: under which its mentions are found."""
    return token_of(f"{KIND_OF_FAMILY[key[0]].value}:{key[1]}")


def document_of(stored: Stored | None) -> Document | None:
    """The document, where one is stored."""
    return stored.document if stored is not None else None


def _departed(touched: Touched) -> frozenset[str]:
    """Who is no longer a member of a team that stays."""
    before = document_of(touched.before)
    if not isinstance(before, Team) or not isinstance(touched.document, Team):
        return frozenset()
    return frozenset(before.members) - frozenset(touched.document.members)
