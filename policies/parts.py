"""What documents are made of: names, the base of every document and of its parts, shared parts.

`documents.py` and `provider_accounts.py` build the document types from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, StringConstraints

# As stored a name may end in its generation, `search~2`, once a deleted name was taken again; nobody
# writes that (`policies.resolve` refuses it), but every id made from a stored name then differs. The first
# generation has no number: `search~1` would be a second spelling of `search`.
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:~(?:[2-9]|[1-9][0-9]{1,5}))?$"),
]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$")]
Text = Annotated[str, StringConstraints(max_length=1024)]
Subject = Annotated[str, StringConstraints(min_length=3, max_length=320)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def model_post_init(self, context: Any, /) -> None:
        """A `type` counts as written, so that `dump` never leaves out what tells parts apart."""
        if "type" in type(self).model_fields:
            self.__pydantic_fields_set__.add("type")


class Document(Part):
    """What every document has. `key` is its identity: the type's family and the name.

    `sources` is the store's own: who asserts what of it (`ownership`). It is no field, so nothing that
    comes from outside can say it and nothing that goes out shows it.
    """

    type: str
    name: str
    family: ClassVar[str] = ""
    _sources: Mapping[str, Any] | None = PrivateAttr(default=None)

    @property
    def sources(self) -> Mapping[str, Any]:
        """Who asserts what, where it is not the owner alone."""
        return self._sources or MappingProxyType({})

    def asserted_by(self, sources: Mapping[str, Any] | None) -> None:
        """Sets `sources`: for whoever reads a stored document."""
        self._sources = sources

    @property
    def key(self) -> tuple[str, str]:
        """(family, name): `provider-account/openai` and `/anthropic` share one name space."""
        return (self.family or self.type, self.name)


class OwnedBy(Part):
    team: Name | None = None
    account: str | None = None


class IdentityProviderMapping(Part):
    identity_provider: Name
    value: str


class Collaborator(Part):
    """A grant: `subject` holds the resource role `role_id` on the document's thing."""

    subject: Subject
    role_id: Name
