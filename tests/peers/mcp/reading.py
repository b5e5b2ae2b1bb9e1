"""Prompts and resources of the everything-server, and what completes their arguments."""

from __future__ import annotations

import json
import re

import mcp_types as types
from mcp.shared.exceptions import MCPError

from tests.peers.mcp import rounds
from tests.peers.mcp.content import PNG

TEMPLATE = "test://template/{id}/data"
_FILLED = re.compile(r"test://template/([^/]+)/data")

RESOURCES = [
    types.Resource(uri=uri, name=name, description=description, mime_type=kind)
    for uri, name, description, kind in (
        ("test://static-text", "static-text", "A text that stays", "text/plain"),
        ("test://static-binary", "static-binary", "An image that stays", "image/png"),
        ("test://watched-resource", "watched-resource", "Something to watch", "text/plain"),
    )
]
TEMPLATES = [
    types.ResourceTemplate(
        uri_template=TEMPLATE,
        name="template",
        description="Something for every id",
        mime_type="application/json",
    )
]
PROMPTS = [
    types.Prompt(name="test_simple_prompt", description="A prompt without arguments"),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A prompt with two arguments",
        arguments=[
            types.PromptArgument(name="arg1", description="The first", required=True),
            types.PromptArgument(name="arg2", description="The second", required=True),
        ],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A prompt with a resource inside",
        arguments=[types.PromptArgument(name="resourceUri", description="Which", required=True)],
    ),
    types.Prompt(name="test_prompt_with_image", description="A prompt with an image inside"),
    types.Prompt(name=rounds.PROMPT, description="A prompt that asks before it is rendered"),
]
EXTRA = types.Prompt(
    name="test_extra_prompt", description="Is there after every other change of the prompts"
)
WORDS = ("paris", "park", "party", "rome")


def toggle_extra_prompt() -> None:
    """Adds a prompt, or takes it away."""
    if EXTRA in PROMPTS:
        PROMPTS.remove(EXTRA)
    else:
        PROMPTS.append(EXTRA)


def read(uri: str) -> types.ReadResourceResult:
    """A resource's content; what is not there is the caller's mistake."""
    contents: types.TextResourceContents | types.BlobResourceContents
    if uri == "test://static-text":
        text = "This is the content of the static text resource."
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)
    elif uri == "test://static-binary":
        contents = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    elif uri == "test://watched-resource":
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text="unchanged")
    elif filled := _FILLED.fullmatch(uri):
        data = {"id": filled[1], "templateTest": True, "data": f"Data for ID: {filled[1]}"}
        contents = types.TextResourceContents(
            uri=uri, mime_type="application/json", text=json.dumps(data)
        )
    else:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})
    return types.ReadResourceResult(contents=[contents])


def _texts(*parts: types.ContentBlock | str) -> types.GetPromptResult:
    blocks = [types.TextContent(text=part) if isinstance(part, str) else part for part in parts]
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=block) for block in blocks]
    )


async def get_prompt(
    params: types.GetPromptRequestParams,
) -> types.GetPromptResult | types.InputRequiredResult:
    """A prompt, rendered."""
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return _texts("This is a simple prompt for testing.")
        case "test_prompt_with_arguments":
            first, second = given.get("arg1", ""), given.get("arg2", "")
            return _texts(f"Prompt with arguments: arg1='{first}', arg2='{second}'")
        case "test_prompt_with_embedded_resource":
            inside = types.TextResourceContents(
                uri=given.get("resourceUri", ""),
                mime_type="text/plain",
                text="Embedded resource content for testing.",
            )
            resource = types.EmbeddedResource(resource=inside)
            return _texts(resource, "Please process the embedded resource above.")
        case "test_prompt_with_image":
            image = types.ImageContent(data=PNG, mime_type="image/png")
            return _texts(image, "Please analyze the image above.")
        case EXTRA.name:
            return _texts("This prompt comes and goes.")
        case rounds.PROMPT:
            return await rounds.prompt(params)
    raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")


def complete(params: types.CompleteRequestParams) -> types.CompleteResult:
    """The words that go on as the argument starts."""
    values = [word for word in WORDS if word.startswith(params.argument.value)]
    return types.CompleteResult(
        completion=types.Completion(values=values, total=len(values), has_more=False)
    )
