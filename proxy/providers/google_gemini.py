"""Google Gemini through its OpenAI-compatible endpoint, key as bearer.

Only what Google documents there is served: chat completions, embeddings and image generation.
"""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from proxy.providers.base import Account, Operation, base_of, operation_routes
from proxy.providers.openai import OpenAI

BASE_URL = "https://generativelanguage.googleapis.com/v1beta/openai"


class GoogleGemini(OpenAI):
    name = "google-gemini"
    operations = frozenset(
        {Operation.CHAT_COMPLETIONS, Operation.EMBEDDINGS, Operation.IMAGES_GENERATIONS}
    )

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        return operation_routes(base_of(account, BASE_URL), self.operations)
