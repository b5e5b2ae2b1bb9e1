from __future__ import annotations

from identity.oauth.pkce import is_challenge, proves

# The example of RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_verifier_proves_its_challenge() -> None:
    assert is_challenge(CHALLENGE)
    assert proves(VERIFIER, CHALLENGE)


def test_nothing_else_does() -> None:
    assert not proves(VERIFIER[:-1] + "X", CHALLENGE)
    assert not proves(CHALLENGE, CHALLENGE)
    assert not proves("", CHALLENGE)
    assert not proves("é" * 43, CHALLENGE)
    assert not is_challenge(CHALLENGE + "=")
    assert not is_challenge(CHALLENGE + "\n")
    assert not is_challenge("plain")
