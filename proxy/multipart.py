"""Reads a multipart form strictly and puts the decided model in its place.

Forms are where parsers differ most, so only what every parser reads the same way passes: no text before
the first or after the last part, CRLF everywhere, a boundary that is never a prefix of something longer,
one `Content-Disposition` a part with one plain name. There is exactly one `model`; all other bytes stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from proxy.body import shown
from proxy.errors import InvalidBody, UnsupportedMediaType

MAX_PARTS = 128
MAX_HEAD = 4096  # bytes of one part's headers
MAX_FIELD = 1 << 16  # bytes of a field that is kept for conditions
MAX_MODEL = 512

_TYPE = re.compile(r"multipart/form-data\s*;\s*boundary=(?:\"([^\"]+)\"|([^\s;\"]+))\s*\Z", re.I)
_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]\Z")  # RFC 2046 5.1.1
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\Z")
_DISPOSITION = re.compile(
    r'form-data((?:[ \t]*;[ \t]*[A-Za-z0-9*_-]+="(?:[^"\\]|\\.)*")*)[ \t]*\Z', re.I
)
_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9*_-]+)="((?:[^"\\]|\\.)*)"')
_PLAIN_ENCODINGS = frozenset({"binary", "8bit", "7bit"})


@dataclass(frozen=True, slots=True)
class Form:
    """What was read: the model, where its value stands (bytes), and the small text fields.

    A field that occurs more than once is a tuple of its values.
    """

    model: str
    start: int
    end: int
    fields: dict[str, object]

    @property
    def stream(self) -> bool:
        return self.fields.get("stream") == "true"


@dataclass(frozen=True, slots=True)
class _Head:
    name: str
    is_file: bool


def boundary_of(content_type: str) -> bytes:
    """The delimiter's text from the `Content-Type` of a form.

    Raises:
        UnsupportedMediaType: not `multipart/form-data` with one usable boundary and nothing else.
    """
    found = _TYPE.match(content_type.strip())
    boundary = (found[1] or found[2]) if found else ""
    if not _BOUNDARY.match(boundary):
        raise UnsupportedMediaType(
            "this route takes `multipart/form-data` with a boundary",
            hint="let your client write the content type itself",
        )
    return boundary.encode("ascii")


def read_form(body: bytes, content_type: str) -> Form:
    """Reads a whole form.

    Raises:
        UnsupportedMediaType: as `boundary_of`.
        InvalidBody: anything that two parsers could read in two ways, or no single `model`.
    """
    delimiter = b"--" + boundary_of(content_type)
    if not body.startswith(delimiter):
        raise InvalidBody("the form does not start with its boundary")
    fields: dict[str, object] = {}
    model: tuple[int, int] | None = None
    at = len(delimiter)
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", at):
            break
        if not body.startswith(b"\r\n", at):
            raise InvalidBody("a boundary of the form is followed by other text")
        start = body.find(b"\r\n\r\n", at)
        if start < 0 or start - at > MAX_HEAD:
            raise InvalidBody("the headers of a part do not end, or are too long")
        head = _head(body[at + 2 : start])
        start += 4
        end = body.find(b"\r\n" + delimiter, start)
        if end < 0:
            raise InvalidBody("the last part of the form does not end")
        # A parser that takes a bare line feed as a line end would see another boundary in here.
        if body.find(b"\n" + delimiter, start, end + 1) >= 0:
            raise InvalidBody("a part of the form holds something that looks like its boundary")
        if head.name == "model":
            if model is not None:
                raise InvalidBody("the form has more than one `model`", param="model")
            if head.is_file:
                raise InvalidBody("`model` is a file", param="model")
            model = (start, end)
        elif not head.is_file and end - start <= MAX_FIELD:
            _keep(fields, head.name, body[start:end])
        at = end + 2 + len(delimiter)
    else:
        raise InvalidBody(f"the form has more than {MAX_PARTS} parts")
    if body[at:] not in (b"--", b"--\r\n"):
        raise InvalidBody("text follows the end of the form")
    if model is None:
        raise InvalidBody("the form has no `model`", param="model")
    return Form(_model(body[model[0] : model[1]]), *model, fields)


def splice(body: bytes, form: Form, model_id: str, content_type: str) -> bytes:
    """The form with the model's value replaced by `model_id`; every other byte stays.

    Raises:
        InvalidBody: `model_id` would read as a boundary of this form.
    """
    made = model_id.encode()
    if boundary_of(content_type) in made or b"\r" in made or b"\n" in made:
        raise InvalidBody("the boundary of the form is part of the model's name")
    return b"".join((body[: form.start], made, body[form.end :]))


def _head(raw: bytes) -> _Head:
    """The name of a part, from its headers without the last line end.

    Raises InvalidBody.
    """
    try:
        lines = raw.decode("utf-8").split("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidBody("the headers of a part are not UTF-8") from error
    seen: dict[str, str] = {}
    for line in lines:
        header = _HEADER.match(line)  # a folded line starts with a space and does not match
        if header is None:
            raise InvalidBody("a header of a part cannot be read")
        name = header[1].lower()
        if name in seen:
            raise InvalidBody(f"the header `{shown(name)}` of a part occurs twice")
        seen[name] = header[2].strip(" \t")
    disposition = _DISPOSITION.match(seen.get("content-disposition", ""))
    if disposition is None:
        raise InvalidBody('a part has no `Content-Disposition: form-data; name="…"`')
    encoding = seen.get("content-transfer-encoding", "binary").lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise InvalidBody(f"the transfer encoding `{shown(encoding)}` of a part is not served")
    parameters: dict[str, str] = {}
    for parameter in _PARAMETER.finditer(disposition[1]):
        key = parameter[1].lower()
        if key in parameters:
            raise InvalidBody(f"`{shown(key)}` occurs twice in the header of a part")
        parameters[key] = parameter[2]
    # RFC 7578 4.2 forbids `filename*` in forms; `name*` exists nowhere but some parsers read it.
    if "name*" in parameters or "name" not in parameters:
        raise InvalidBody('a part has no plain `name="…"`')
    name = parameters["name"]
    if name != "model" and _reads_as_model(name):
        raise InvalidBody(
            f"the name `{shown(name)}` of a part could be read as `model`", param="model"
        )
    return _Head(name, "filename" in parameters or "filename*" in parameters)


def _reads_as_model(name: str) -> bool:
    """Whether some parser would read `name` as `model`: escapes, case, spaces, array brackets."""
    plain = unquote(name.replace("\\", "")).partition("[")[0].partition("\x00")[0]
    return plain.strip().casefold() == "model"


def _keep(fields: dict[str, object], name: str, raw: bytes) -> None:
    value = raw.decode("utf-8", "replace")
    if name not in fields:
        fields[name] = value
        return
    held = fields[name]
    fields[name] = (*held, value) if isinstance(held, tuple) else (held, value)


def _model(raw: bytes) -> str:
    if len(raw) > MAX_MODEL:
        raise InvalidBody("`model` is too long", param="model")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBody("`model` is not UTF-8", param="model") from error
