"""The pages that a person sees: who asks, for what, and a field for a token. No script, nothing from elsewhere.

Every text that is not ours goes through `escape`; the policy of the page lets nothing run, load or frame it
even if that were forgotten once. Forms may go to this gateway only, and from there to the client.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from aiohttp import web

from identity.oauth import redirects
from identity.oauth.clients import Client

_STYLE = """
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}
h1{font-size:1.4rem;line-height:1.3}
dl{border:1px solid #8888;border-radius:.4rem;padding:.8rem 1rem;margin:1.2rem 0}
dt{font-size:.9rem;opacity:.8}dd{margin:0 0 .6rem;overflow-wrap:anywhere}dd:last-child{margin:0}
label{display:block;font-weight:600;margin-top:1.2rem}
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin:.3rem 0}
button{font:inherit;padding:.55rem 1.2rem;margin:1rem .6rem 0 0;cursor:pointer}
.error{border-left:.3rem solid #c22;padding:.4rem .8rem}
.note{opacity:.85}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Consent:
    """What the page asks a person."""

    client: Client
    redirect_uri: str
    resource: str
    form: str  # sealed: what is asked, and for which browser
    action: str


def consent(asked: Consent, problem: str = "", status: int = 200) -> web.Response:
    """The page that asks."""
    client = asked.client
    target = redirects.origin_of(asked.redirect_uri)
    # A policy cannot name an address of IPv6.
    form_to = "http:" if "[" in target else target
    name = f"<strong><bdi>{escape(client.name)}</bdi></strong>"
    error = f'<p class="error" role="alert">{escape(problem)}</p>' if problem else ""
    invalid = ' aria-invalid="true"' if problem else ""
    body = f"""
<h1>Let {name} use MCP servers in your name?</h1>
{error}
<dl>
<dt>Who asks</dt><dd><bdi>{escape(client.name)}</bdi>. {_vouched(client)}</dd>
<dt>Where the answer goes</dt><dd><code>{escape(target)}</code>{_local(asked.redirect_uri)}</dd>
<dt>What for</dt><dd><code>{escape(asked.resource)}</code></dd>
</dl>
<p>It may use what your token may use there, and nothing besides. It does not get the token. It ends when the
token ends, when you revoke it, and after 90 days.</p>
<p>Did you not just start this yourself, or do you not know the place where the answer goes? Then deny.</p>
<form method="post" action="{escape(asked.action)}" autocomplete="off">
<input type="hidden" name="form" value="{escape(asked.form)}">
<label for="token">Your access token</label>
<input id="token" name="token" type="password" autocomplete="off" autocapitalize="off" spellcheck="false"
 aria-describedby="about" maxlength="256"{invalid}>
<p id="about" class="note">Starts with <code>gw_pat_</code>, or <code>gw_vat_</code> for a virtual account.</p>
<button type="submit" name="decision" value="allow">Allow</button>
<button type="submit" name="decision" value="deny">Deny</button>
</form>"""
    return _page("Allow an MCP client?", body, status, form_to=form_to)


def failure(problem: str, hint: str = "", status: int = 400, back: str = "") -> web.Response:
    """The page for a request that is not sent on; `back` is where a person may go who knows the place."""
    more = f"<p>{escape(hint)}</p>" if hint else ""
    if back:
        target = escape(redirects.origin_of(back))
        more += (
            f'<p><a href="{escape(back)}" rel="noreferrer">Go back to <code>{target}</code></a></p>'
        )
    body = (
        f'<h1>This cannot be allowed</h1><p class="error" role="alert">{escape(problem)}</p>{more}'
    )
    return _page("This cannot be allowed", body, status)


def _vouched(client: Client) -> str:
    if client.document:
        host = redirects.origin_of(client.id)
        return f"It is described at <code>{escape(host)}</code>."
    return "Nobody has checked this name: whoever registers may choose it."


def _local(redirect_uri: str) -> str:
    return ", a program on this computer" if redirects.is_loopback(redirect_uri) else ""


def _page(title: str, body: str, status: int, form_to: str = "") -> web.Response:
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(title)} - Gatewarden</title>
<style>{_STYLE}</style>
</head>
<body>
<main>{body}
</main>
</body>
</html>
"""
    return web.Response(
        status=status,
        body=text.encode("utf-8", "replace"),
        content_type="text/html",
        charset="utf-8",
        headers=guarded(form_to),
    )


def guarded(form_to: str = "") -> Mapping[str, str]:
    """The headers of a page, and of the answer to its form."""
    # Browsers apply `form-action` to the redirect that answers a form as well, so the client stands there.
    form = f"form-action 'self' {form_to}" if form_to else "form-action 'none'"
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        f"base-uri 'none'; frame-ancestors 'none'; {form}",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Pragma": "no-cache",
    }
