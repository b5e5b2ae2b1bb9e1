"""The providers, by the second half of a document's type (`provider-account/<name>`)."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.providers.anthropic import Anthropic
from proxy.providers.aws_bedrock import AwsBedrock
from proxy.providers.azure_openai import AzureOpenAI
from proxy.providers.base import Provider
from proxy.providers.echo import Echo
from proxy.providers.google_gemini import GoogleGemini
from proxy.providers.openai import OpenAI
from proxy.providers.openai_compatible import OpenAICompatible

_ALL: tuple[Provider, ...] = (
    Anthropic(),
    AwsBedrock(),
    AzureOpenAI(),
    Echo(),
    GoogleGemini(),
    OpenAI(),
    OpenAICompatible(),
)
PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in _ALL}
