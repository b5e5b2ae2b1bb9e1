from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import InvalidBody, UnsupportedMediaType
from proxy.multipart import boundary_of, read_form, splice
from proxy.parts import Limits
from tests.proxy.world import world

TYPE = "multipart/form-data; boundary=XX"


def form(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> bytes:
    """A form of parts, each the value of its Content-Disposition after `form-data; ` and its body."""
    made = b"".join(
        b"--XX\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
        for head, body in parts
    )
    return made + end


MODEL = ('name="model"', b"acme/mini")
FILE = ('name="file"; filename="a.wav"', b"RIFF\r\n\x00\xff")


def test_the_model_is_replaced_and_every_other_byte_stays() -> None:
    for parts in ((MODEL, FILE), (FILE, MODEL), (FILE, MODEL, FILE)):
        body = form(*parts)
        found = read_form(body, TYPE)
        assert found.model == "acme/mini"
        assert splice(body, found, "whisper-1", TYPE) == body.replace(b"acme/mini", b"whisper-1")


def test_text_fields_are_there_for_conditions() -> None:
    found = read_form(
        form(MODEL, ('name="stream"', b"true"), ('name="a[]"', b"1"), ('name="a[]"', b"2")), TYPE
    )
    assert found.stream
    assert found.fields == {"stream": "true", "a[]": ("1", "2")}


@given(st.binary(max_size=200))
def test_a_file_of_any_bytes_is_kept_or_refused(data: bytes) -> None:
    body = form(MODEL, ('name="file"; filename="f"', data))
    try:
        found = read_form(body, TYPE)
    except InvalidBody:
        assert b"--XX" in data
    else:
        assert splice(body, found, "m", TYPE) == body.replace(b"acme/mini", b"m", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--XX--\r\n",
        form(FILE),
        form(MODEL, MODEL),
        form(MODEL, ('name="model"; filename="x"', b"acme/mini")),
        form(('name="model"; filename="x"', b"acme/mini")),
        form(MODEL, ('name="Model"', b"x")),
        form(MODEL, ('name="model "', b"x")),
        form(MODEL, ('name="model[]"', b"x")),
        form(MODEL, ('name="mod%65l"', b"x")),
        form(MODEL, ('name="mod\\el"', b"x")),
        form(MODEL, ("name*=utf-8''model", b"x")),
        form(MODEL, ('name="a"; name="model"', b"x")),
        form(MODEL, ('name="a"; name*="model"', b"x")),
        form(MODEL, ("name=model", b"x")),
        form(MODEL, ('name="a"\r\nContent-Disposition: form-data; name="model"', b"x")),
        form(MODEL, ('name="a"\r\n ; name="model"', b"x")),
        form(('name="model"\r\nContent-Transfer-Encoding: base64', b"YWNtZS9taW5p")),
        form(MODEL, ('name="a"', b'x\n--XX\nContent-Disposition: form-data; name="model"\n\ny')),
        form(MODEL, ('name="a"', b"x\r\n--XXY\r\n")),
        b"preamble\r\n" + form(MODEL),
        form(MODEL) + b"epilogue",
        form(MODEL, end=b"--XX--\r\n--XX\r\n"),
        form(MODEL, end=b""),
        form(MODEL)[:-6],
        form(MODEL).replace(b"\r\n", b"\n"),
        form(MODEL, *[('name="a"', b"")] * 200),
        form(('name="model"', b"\xff")),
        form(('name="model"', b"a" * 600)),
        form(MODEL, ('name="a"; x="' + "y" * 5000 + '"', b"")),
    ],
)
def test_a_form_that_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        read_form(body, TYPE)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=XX",
        "multipart/form-data; boundary=XX; boundary=YY",
        "multipart/form-data; charset=utf-8; boundary=XX",
        "multipart/form-data; boundary=" + "a" * 71,
        "multipart/form-data; boundary=a\x00b",
    ],
)
def test_a_content_type_without_one_plain_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        boundary_of(content_type)


def test_a_model_that_reads_as_the_boundary_is_never_written() -> None:
    body = form(MODEL)
    with pytest.raises(InvalidBody):
        splice(body, read_form(body, TYPE), "a\r\n--XX", TYPE)


async def test_a_form_of_a_real_client_is_decided_and_reaches_the_upstream(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for model, status in (("acme/mini", 200), ("acme/hidden", 404)):
            data = aiohttp.FormData()
            data.add_field("file", b"\x00RIFF" * 1000, filename="ü.wav", content_type="audio/wav")
            data.add_field("model", model)
            data.add_field("language", "de")
            async with w.session.post(
                w.url + "/v1/audio/transcriptions",
                data=data,
                headers={"authorization": f"Bearer {w.tokens['ann']}"},
            ) as response:
                assert response.status == status
        assert len(w.seen) == 1
        assert b"gpt-mini" in w.seen[0].body
        assert b"acme/mini" not in w.seen[0].body
        assert (w.seen[0].header("content-type") or "").startswith("multipart/form-data; boundary=")


async def test_a_form_that_is_too_large_is_a_413(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(form_bytes=1000)) as w:
        body = form(MODEL, ('name="file"; filename="f"', b"x" * 2000))
        got = await w.call("/v1/images/edits", data=body, headers={"content-type": TYPE})
        assert (got.status, got.error["code"]) == (413, "body_too_large")
