"""Tools and a prompt that need more from the client, as 2026-07-28 does it: the call is made again, with answers."""

from __future__ import annotations

import json

import mcp_types as types

from tests.peers.mcp.shelf import Answer, Context, Shelf, said

shelf = Shelf()


def _form(message: str, name: str, kind: str = "string") -> types.ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=schema)
    )


def _sample(text: str, most: int) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(text=text))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=most)
    )


ROOTS = types.ListRootsRequest(params=types.RequestParams())
NAME = _form("What is your name?", "name")
CONFIRM = _form("Please confirm", "ok", "boolean")


def _needs(state: str | None = None, /, **asked: types.InputRequest) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=asked, request_state=state)


def _field(params: types.InputResponseRequestParams, key: str, name: str) -> object:
    """What the person filled in, or None if this was not answered so."""
    answer = (params.input_responses or {}).get(key)
    if isinstance(answer, types.ElicitResult) and answer.action == "accept":
        return (answer.content or {}).get(name)
    return None


def _sampled(params: types.InputResponseRequestParams, key: str) -> str | None:
    answer = (params.input_responses or {}).get(key)
    if isinstance(answer, types.CreateMessageResult):
        return answer.content.text if isinstance(answer.content, types.TextContent) else ""
    return None


def _roots(params: types.InputResponseRequestParams, key: str) -> list[str] | None:
    answer = (params.input_responses or {}).get(key)
    if isinstance(answer, types.ListRootsResult):
        return [str(root.uri) for root in answer.roots]
    return None


@shelf.tool("Asks for a name, and greets")
async def test_input_required_result_elicitation(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    name = _field(params, "user_name", "name")
    return _needs(user_name=NAME) if name is None else said(f"Hello, {name}!")


@shelf.tool("Asks the client's model")
async def test_input_required_result_sampling(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    text = _sampled(params, "capital_question")
    if text is None:
        return _needs(capital_question=_sample("What is the capital of France?", 100))
    return said(text)


@shelf.tool("Asks for the client's roots")
async def test_input_required_result_list_roots(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    roots = _roots(params, "client_roots")
    return _needs(client_roots=ROOTS) if roots is None else said("roots: " + ", ".join(roots))


@shelf.tool("Asks, and keeps what it needs in the state")
async def test_input_required_result_request_state(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    if params.request_state != "asked" or _field(params, "confirm", "ok") is None:
        return _needs("asked", confirm=CONFIRM)
    return said("state-ok")


@shelf.tool("Has a state that nobody else can write")
async def test_input_required_result_tampered_state(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    if params.request_state is None:
        return _needs("untouched", confirm=CONFIRM)
    return said(f"the state was {params.request_state}")


@shelf.tool("Asks three things at once")
async def test_input_required_result_multiple_inputs(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    name = _field(params, "user_name", "name")
    greeting = _sampled(params, "greeting")
    roots = _roots(params, "client_roots")
    if name is None or greeting is None or roots is None:
        asked = _sample("Generate a greeting", 50)
        return _needs("three", user_name=NAME, greeting=asked, client_roots=ROOTS)
    return said(f"{greeting} {name}, with {len(roots)} roots")


@shelf.tool("Asks one thing after the other")
async def test_input_required_result_multi_round(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    state = json.loads(params.request_state or "{}")
    name = state.get("name") or _field(params, "step1", "name")
    if name is None:
        return _needs("{}", step1=_form("Step 1: What is your name?", "name"))
    color = _field(params, "step2", "color")
    if color is None:
        asked = _form("Step 2: What is your favorite color?", "color")
        return _needs(json.dumps({"name": name}), step2=asked)
    return said(f"{name} likes {color}")


@shelf.tool("Asks only what the client can answer")
async def test_input_required_result_capabilities(
    ctx: Context, params: types.CallToolRequestParams
) -> Answer:
    declared = ctx.session.client_capabilities or types.ClientCapabilities()
    asked: dict[str, types.InputRequest] = {}
    if declared.elicitation is not None:
        asked["user_name"] = NAME
    if declared.sampling is not None:
        asked["greeting"] = _sample("Generate a greeting", 50)
    if declared.roots is not None:
        asked["client_roots"] = ROOTS
    if not asked or params.input_responses:
        return said("nothing is missing")
    return _needs(**asked)


@shelf.tool("Tells that it works, then asks")
async def test_streaming_elicitation(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    await ctx.session.report_progress(1, 2)
    name = _field(params, "user_name", "name")
    return _needs(user_name=NAME) if name is None else said(f"Hello, {name}!")


PROMPT = "test_input_required_result_prompt"


async def prompt(
    params: types.GetPromptRequestParams,
) -> types.GetPromptResult | types.InputRequiredResult:
    """The prompt that needs an answer before it is rendered."""
    context = _field(params, "user_context", "context")
    if context is None:
        return _needs(user_context=_form("What context should the prompt use?", "context"))
    text = types.TextContent(text=f"Please answer for this context: {context}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])
