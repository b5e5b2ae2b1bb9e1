"""How an entry is written: in pieces, and byte for byte as if it were written in one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from authz.rows import Row
from policies.change import DocumentChange, Entry, Source
from store.entries import decode, encode, hash_of
from tests.store.change_kit import NOW

TEXT = st.text(max_size=12)
DOCUMENTS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.booleans(), st.lists(TEXT)))
CHANGES = st.lists(
    st.builds(
        lambda name, before, after: DocumentChange(("team", name), before, after, 1, Source.MANUAL),
        TEXT,
        st.none() | DOCUMENTS,
        st.none() | DOCUMENTS,
    ),
    max_size=3,
)
ROWS = st.lists(st.builds(lambda a, b: Row("g", (a, b)), TEXT, TEXT), max_size=3)


@given(CHANGES, ROWS, ROWS, TEXT)
def test_a_body_is_canonical_json(
    documents: list[DocumentChange], added: list[Row], removed: list[Row], comment: str
) -> None:
    entry = Entry(
        epoch=7, at=NOW, actor="host", source=Source.MANUAL, request_id="r", comment=comment,
        documents=tuple(documents), added=tuple(added), removed=tuple(removed), digest="d",
        previous="p", hash="",
    )  # fmt: skip
    body = encode(entry)
    data: Any = json.loads(body)
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert body == text.encode("utf-8", "surrogatepass")
    read = decode(7, hash_of(body), body)
    assert (read.added, read.removed, read.comment) == (entry.added, entry.removed, comment)
