"""The operations of a document as tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from proxy.mcp.openapi import operations as module
from proxy.mcp.openapi.operations import Operations, ToolSetting, operations
from proxy.mcp.openapi.pointers import OpenApiError
from proxy.mcp.openapi.source import Inline, load
from tests.proxy.mcp.openapi.shed import TEXT, document

OWN = Path(__file__).resolve().parents[4] / "docs/openapi.json"


async def shed() -> Mapping[str, Any]:
    async def unused(*_: object) -> None: ...

    return await load(Inline(TEXT), unused)  # type: ignore[arg-type]


def schema(found: Operations, name: str) -> Mapping[str, Any]:
    return found.tools[name].definition["inputSchema"]


async def test_each_operation_is_a_tool() -> None:
    found = operations(await shed())
    assert list(found.tools) == [
        "listThings", "addThing", "get_thing", "put_thing", "delete_things_id", "photo", "note",
        "fails", "long",
    ]  # fmt: skip
    assert found.left_out == ["`POST /upload`: it needs a body that is not JSON"]
    for tool in found.tools.values():
        Draft202012Validator.check_schema(tool.definition["inputSchema"])


async def test_annotations_follow_the_method() -> None:
    found = operations(await shed())
    hints = {name: tool.definition["annotations"] for name, tool in found.tools.items()}
    assert hints["listThings"] == {"readOnlyHint": True}
    assert hints["addThing"] == {"readOnlyHint": False}
    assert hints["put_thing"]["idempotentHint"] is True
    assert hints["delete_things_id"]["destructiveHint"] is True


async def test_what_a_tool_takes() -> None:
    found = operations(await shed())
    assert set(schema(found, "listThings")["properties"]) == {
        "kind", "tags", "filter", "limit", "X-Trace",
    }  # fmt: skip
    assert schema(found, "put_thing") == {
        "type": "object",
        "properties": {"id": {"type": "string"}, "body": {"$ref": "#/$defs/Thing"}},
        "required": ["id"],
        "additionalProperties": False,
        "$defs": {
            "Thing": {
                "type": "object",
                "properties": {
                    "name": {"type": ["string", "null"], "minLength": 1},
                    "weight": {"type": "number", "exclusiveMinimum": 0},
                    "parts": {"type": "array", "items": {"$ref": "#/$defs/Thing"}},
                },
                "required": ["name"],
                "additionalProperties": False,
            }
        },
    }
    assert schema(found, "addThing")["required"] == ["body"]
    assert found.tools["listThings"].definition["description"] == (
        "Lists things\n\nAll that can be lent, filtered."
    )


async def test_settings_choose_and_rename() -> None:
    settings = [
        ToolSetting("get", "/things", "things", "What there is"),
        ToolSetting("GET", "/old"),
        ToolSetting("GET", "/staff"),
        ToolSetting("GET", "/nowhere"),
    ]
    found = operations(await shed(), settings, every=False)
    assert list(found.tools) == ["things", "old"]
    assert found.tools["things"].definition["description"] == "What there is"
    assert found.left_out == ["`GET /nowhere`: the document has no such operation"]
    assert "things" in operations(await shed(), settings).tools


def test_arguments_of_one_name_stay_apart() -> None:
    parameters = [
        {"name": "id", "in": "query", "schema": {"type": "integer"}},
        {"name": "id", "in": "header"},
        {"name": "body", "in": "query"},
        {"name": "page[size]", "in": "query"},
        {"name": "page(size)", "in": "query"},
        {"name": "id", "in": "path", "required": True},
    ]
    body = {"content": {"application/vnd.x+json; charset=utf-8": {"schema": True}}}
    found = operations(document(**{"post_a/{id}": {"parameters": parameters, "requestBody": body}}))
    tool = found.tools["post_a_id"]
    named = {key: (item.name, item.where.value) for key, item in tool.parameters.items()}
    assert named == {
        "id": ("id", "path"),
        "id_query": ("id", "query"),
        "body": ("body", "query"),
        "page_size": ("page[size]", "query"),
        "page_size_query": ("page(size)", "query"),
        "id_header": ("id", "header"),
    }
    assert (tool.body, tool.media) == ("body_request", "application/vnd.x+json")


def test_an_operations_own_parameter_comes_instead_of_its_paths() -> None:
    paths = document(get_a={"parameters": [{"name": "n", "in": "query", "required": True}]})
    paths["paths"]["/a"]["parameters"] = [{"name": "n", "in": "query", "schema": {"type": "null"}}]
    assert schema(operations(paths), "get_a")["properties"] == {"n": {}}


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"parameters": [{"$ref": "http://127.0.0.1/p.json"}]}, "leads out of the document"),
        ({"parameters": [{"$ref": "#/paths/~1a/get/parameters/0"}]}, "in a circle"),
        ({"parameters": [{"name": "x", "in": "path"}]}, "are not the same"),
        ({"parameters": [{"name": f"p{n}", "in": "query"} for n in range(300)]}, "more than 200"),
        (
            {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/no"}}}}},
            "leads nowhere",
        ),
    ],
)
def test_a_broken_operation_does_not_harm_the_others(operation: object, why: str) -> None:
    found = operations(document(get_a=operation, get_b={}))
    assert list(found.tools) == ["get_b"]
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith("`GET /a`: ")
    assert why in found.left_out[0]


@pytest.mark.parametrize(
    "value", [{}, {"swagger": "2.0"}, {"openapi": "2.0"}, {"openapi": "3.9.0"}, {"openapi": 3.1}]
)
def test_only_openapi_3_is_read(value: dict[str, Any]) -> None:
    with pytest.raises(OpenApiError, match=r"3\.0 or 3\.1"):
        operations(value)


@pytest.mark.parametrize(
    "paths", [None, [], {"/a": None}, {"/a": {"get": 7}}, {7: {}}, {"x-a": {}}]
)
def test_a_document_without_operations_has_no_tools(paths: object) -> None:
    assert not operations({"openapi": "3.1.0", "paths": paths}).tools


def test_ten_thousand_operations_are_fine() -> None:
    body = {"content": {"application/json": {"schema": {"$ref": "#/s/A"}}}}
    paths = {
        f"/p{n}": {"get": {"operationId": "same"}, "post": {"requestBody": body}}
        for n in range(5_000)
    }
    node = {"properties": {"a": {"$ref": "#/s/A"}, "b": {"enum": list(range(100_000))}}}
    found = operations({"openapi": "3.1.0", "paths": paths, "s": {"A": node}})
    assert len(found.tools) == 10_000
    assert not found.left_out


def test_all_schemas_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOTAL", 500)
    with pytest.raises(OpenApiError) as caught:
        operations(document(**{f"get_p{n}": {} for n in range(20)}))
    assert caught.value.code == "too_large"


def test_the_control_planes_own_document_is_read_without_loss() -> None:
    own = msgspec.json.decode(OWN.read_bytes())
    found = operations(own)
    assert not found.left_out
    count = sum(method in module.METHODS for item in own["paths"].values() for method in item)
    assert len(found.tools) == count
    for tool in found.tools.values():
        Draft202012Validator.check_schema(tool.definition["inputSchema"])
