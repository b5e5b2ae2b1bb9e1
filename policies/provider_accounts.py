"""The provider account: one provider's address, credential and models, and who may use them.

A virtual model's account is one too, whose models stand for others. Imported through `documents.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from policies.parts import Collaborator, Document, ModelName, Name, OwnedBy, Part, Subject

ProviderType = Literal[
    "provider-account/openai",
    "provider-account/anthropic",
    "provider-account/azure-openai",
    "provider-account/google-gemini",
    "provider-account/aws-bedrock",
    "provider-account/openai-compatible",
    "provider-account/virtual-model",
    "provider-account/echo",
]
PROVIDER_TYPES: tuple[str, ...] = get_args(ProviderType)


class ApiKeyAuth(Part):
    """`api_key` is `env:NAME`, `file:name`, `secret:<id>` (sealed), or the secret itself on the way in."""

    type: Literal["api-key"] = "api-key"
    api_key: str = Field(repr=False)


class AccessKeyAuth(Part):
    """AWS access keys; each is a reference or the value on the way in."""

    type: Literal["access-key-based"] = "access-key-based"
    access_key_id: str
    secret_access_key: str = Field(repr=False)
    session_token: str | None = Field(default=None, repr=False)


Auth = Annotated[ApiKeyAuth | AccessKeyAuth, Field(discriminator="type")]


class Target(Part):
    """What a virtual model stands for: `<account>/<model>`."""

    target: str


class RoutingConfig(Part):
    type: Literal["priority-based-routing", "weight-based-routing"] = "priority-based-routing"
    targets: tuple[Target, ...] = Field(min_length=1, max_length=1)


PerToken = Annotated[float, Field(ge=0, le=1)]


class Cost(Part):
    """What a token costs, in US dollars: as the shipped table says, or as is said here."""

    metric: Literal["public_cost", "custom_cost"] = "public_cost"
    input_cost_per_token: PerToken | None = None
    output_cost_per_token: PerToken | None = None


class Integration(Part):
    """A model. Callers say `<account>/<name>`; the provider is sent `model_id`."""

    type: str
    name: ModelName
    model_id: str | None = Field(default=None, max_length=512)
    model_types: tuple[str, ...] = ("chat",)
    cost: Cost | None = None
    region: str | None = None
    authorized_subjects: tuple[Subject, ...] | None = None
    routing_config: RoutingConfig | None = None


class ProviderAccount(Document):
    """Credentials and models of one provider.

    `dialects` may narrow what the provider type serves (`openai`, `anthropic`).
    """

    type: ProviderType
    name: Name
    auth_data: Auth | None = None
    base_url: str | None = None
    region: str | None = None
    api_version: str | None = None
    dialects: tuple[Literal["openai", "anthropic"], ...] | None = None
    collaborators: tuple[Collaborator, ...] = ()
    integrations: tuple[Integration, ...] = ()
    owned_by: OwnedBy | None = Field(default=None, alias="ownedBy")
    tags: Mapping[str, str] = Field(default_factory=dict)
    family: ClassVar[str] = "provider-account"
