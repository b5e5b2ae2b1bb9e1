"""The OpenAPI document: complete, made from the table, and the same in the repository as served."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from proxy.api import openapi
from proxy.api.site import ROUTES
from tests.proxy.api.stack import Stack

DOCUMENT = openapi.build(ROUTES)


async def test_the_file_in_the_repository_is_what_is_served(stack: Stack) -> None:
    served = await stack.call("GET", "/openapi.json")
    kept = openapi.FILE.read_bytes()
    assert served.json == json.loads(kept), "run: python -m proxy.api.openapi"
    assert kept == openapi.render(DOCUMENT)


def test_every_route_is_described_with_its_actions_and_errors() -> None:
    described = {
        (method.upper(), path.removeprefix("/api/v1")): operation
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
    }
    assert set(described) == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        operation = described[route.method, route.path]
        assert operation["x-gatewarden-actions"] == [action.value for action in route.actions]
        assert operation["operationId"] and operation["summary"]
        wanted = {"400", "500", "503"} | (set() if route.public else {"401", "403", "404"})
        assert wanted <= set(operation["responses"])
        if route.mutates:
            assert {"409", "422"} <= set(operation["responses"])
        if route.body is not None:
            assert {"413", "415"} <= set(operation["responses"])
            assert operation["requestBody"]["content"]["application/json"]["example"]


def test_every_reference_leads_somewhere() -> None:
    def walk(value: object) -> None:
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                target: object = DOCUMENT
                for part in reference.removeprefix("#/").split("/"):
                    assert isinstance(target, dict) and part in target, reference
                    target = target[part]
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(DOCUMENT)


def test_every_example_is_valid() -> None:
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            body = operation.get("requestBody")
            if body is None:
                continue
            content = body["content"]["application/json"]
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            errors = list(Draft202012Validator(schema).iter_errors(content["example"]))
            assert not errors, (path, errors)


def test_no_schema_names_what_must_not_leave() -> None:
    text = json.dumps(DOCUMENT["components"]["schemas"])
    assert '"digest"' not in text and '"Credential"' not in text
