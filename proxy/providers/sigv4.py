"""AWS Signature Version 4 for a request that is complete in memory.

Pure: the time comes in, nothing goes out. The scheme is AWS's public one ("Signature Version 4 signing
process"); paths are escaped twice, as every service but S3 wants it. Used by `aws_bedrock.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import quote

from yarl import URL

from proxy.providers.base import AwsKeys, Headers

ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"


def host_header(url: URL) -> str:
    """The `Host` that goes on the wire for `url`: the port only where it is not the scheme's own."""
    host = url.host_subcomponent or ""
    return host if url.is_default_port() else f"{host}:{url.port}"


def sign(
    method: str,
    url: URL,
    headers: Headers,
    body: bytes,
    *,
    keys: AwsKeys,
    region: str,
    service: str,
    now: datetime,
) -> Headers:
    """The headers to add (`x-amz-date`, `x-amz-security-token`, `authorization`).

    `headers` are signed as given, together with `host` and the ones added; pass only those that no hop
    changes. `now` is aware.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    added: Headers = [("x-amz-date", stamp)]
    if keys.session_token:
        added.append(("x-amz-security-token", keys.session_token))
    signed, request = canonical_request(
        method, url, [("host", host_header(url)), *headers, *added], body
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{keys.access_key_id}/{scope}"
    added.append(
        (
            "authorization",
            f"{ALGORITHM} Credential={credential}, SignedHeaders={signed}, Signature={signature}",
        )
    )
    return added


def canonical_request(method: str, url: URL, headers: Headers, body: bytes) -> tuple[str, str]:
    """(the signed headers, the canonical request)."""
    merged: dict[str, list[str]] = {}
    for name, value in headers:
        merged.setdefault(name.lower(), []).append(" ".join(value.split()))
    names = sorted(merged)
    lines = "".join(f"{name}:{','.join(merged[name])}\n" for name in names)
    signed = ";".join(names)
    path = quote(url.raw_path or "/", safe="/" + _UNRESERVED)
    query = "&".join(
        sorted(
            f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}"
            for name, value in url.query.items()
        )
    )
    payload = hashlib.sha256(body).hexdigest()
    return signed, f"{method}\n{path}\n{query}\n{lines}\n{signed}\n{payload}"
