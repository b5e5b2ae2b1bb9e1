"""The kinds as data: every document type that people write is served by exactly one of them."""

from __future__ import annotations

from proxy.api.collections import COLLECTIONS, OF_FAMILY
from proxy.api.openapi import public_types


def test_every_public_document_type_is_served_once() -> None:
    served = [name for collection in COLLECTIONS for name in collection.types]
    assert sorted(served) == sorted(public_types())


def test_a_kind_is_found_by_its_family() -> None:
    assert len(OF_FAMILY) == len(COLLECTIONS)
    assert all(item.example["type"] in item.types for item in COLLECTIONS)
