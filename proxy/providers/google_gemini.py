"""Google Gemini through its OpenAI-compatible endpoint, key as bearer.

Only what Google documents there is served: chat completions, embeddings and image generation.
"""

from __future__ import annotations

from proxy.providers.base import Operation
from proxy.providers.openai import OpenAI

BASE_URL = "https://generativelanguage.googleapis.com/v1beta/openai"


class GoogleGemini(OpenAI):
    name = "google-gemini"
    operations = frozenset(
        {Operation.CHAT_COMPLETIONS, Operation.EMBEDDINGS, Operation.IMAGES_GENERATIONS}
    )
    address = BASE_URL
