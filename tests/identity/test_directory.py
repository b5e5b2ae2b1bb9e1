"""Who a token is, at every instant and after every change. Numbers are those of docs/attacks.md."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from authz.decision import Asker
from identity.directory import MAX_TOMBSTONES, Directory, account_ends
from identity.errors import Refusal, Unauthenticated
from identity.issue import Issued, Origin, issue, regenerate, revoke
from identity.principal import CredentialKind, Principal
from identity.tokens import mint
from policies.change import DocumentChange
from policies.documents import Credential, OwnedBy, Restriction, User, VirtualAccount, dump

ORIGIN = Origin("user:u-root", "r-1")
SECOND = timedelta(seconds=1)


@pytest.fixture
def directory(log: Any) -> Directory:
    directory = Directory()
    log.subscribe(directory)
    log.put(
        User(name="u-ann"),
        VirtualAccount(name="checkout", owned_by=OwnedBy(team="search"), tags={"tier": "gold"}),
    )
    return directory


def give(log: Any, subject: str, now: datetime, **more: Any) -> Issued:
    issued = issue(subject, ORIGIN, now=now, **more)
    log.take(issued.change)
    return issued


def refusal(directory: Directory, secret: str, now: datetime) -> Refusal:
    with pytest.raises(Unauthenticated) as refused:
        directory.authenticate(secret, now)
    return refused.value.refusal


def test_user_token_gives_the_user_and_nothing_more(
    log: Any, directory: Directory, now: datetime
) -> None:
    issued = give(log, "user:u-ann", now)
    principal = directory.authenticate(issued.secret, now)
    assert principal == Principal("user:u-ann", issued.credential.name, CredentialKind.PAT)
    asker: Asker = principal
    assert (asker.bound, asker.token) == (None, None)


def test_account_token_carries_owner_and_attributes(
    log: Any, directory: Directory, now: datetime
) -> None:
    issued = give(log, "virtualaccount:checkout", now)
    principal = directory.authenticate(issued.secret, now)
    assert principal.credential_kind is CredentialKind.VAT
    assert principal.owner_team == "team:search"
    assert principal.attributes == {"tier": "gold"}
    assert principal.bound is None


def test_bound_of_an_account_follows_its_document(
    log: Any, directory: Directory, now: datetime
) -> None:
    issued = give(log, "virtualaccount:checkout", now)
    log.put(VirtualAccount(name="checkout", bounded_by="search"))
    assert directory.authenticate(issued.secret, now).bound == "bound:search"
    log.put(VirtualAccount(name="checkout"))
    assert directory.authenticate(issued.secret, now).bound is None


@pytest.mark.parametrize(
    ("restrictions", "restricted"),
    [
        (None, False),
        ((), True),  # an empty list allows nothing, so it must be asked
        ((Restriction(actions=("model:use",), resources=("model:a/b",)),), True),
    ],
)
def test_restricted_token_names_its_own_subject(
    log: Any, directory: Directory, now: datetime, restrictions: Any, restricted: bool
) -> None:
    issued = give(log, "user:u-ann", now, restrictions=restrictions)
    expected = f"token:{issued.credential.name}" if restricted else None
    assert directory.authenticate(issued.secret, now).token == expected


def test_team_of_a_token_is_an_id(log: Any, directory: Directory, now: datetime) -> None:
    issued = give(log, "user:u-ann", now, team="search")
    assert directory.authenticate(issued.secret, now).team == "team:search"


def test_unknown_token_is_refused_and_not_remembered(
    log: Any, directory: Directory, now: datetime
) -> None:
    """K11: a token works at once although it was tried before it existed."""
    issued = issue("user:u-ann", ORIGIN, now=now)
    assert refusal(directory, issued.secret, now) is Refusal.UNKNOWN
    log.take(issued.change)
    assert directory.authenticate(issued.secret, now).id == "user:u-ann"


def test_revoked_token_is_refused_on_the_next_request(
    log: Any, directory: Directory, now: datetime
) -> None:
    """K1, K9: deleting answers only when the token is gone; there is no time to live to wait for."""
    issued = give(log, "user:u-ann", now)
    directory.authenticate(issued.secret, now)
    log.take(revoke([issued.credential.name], ORIGIN))
    assert refusal(directory, issued.secret, now) is Refusal.REVOKED


def test_second_process_refuses_once_it_applies_the_entry(
    log: Any, directory: Directory, now: datetime
) -> None:
    """K2: each process has its own directory; the entry is what carries the revocation."""
    issued = give(log, "user:u-ann", now)
    other = Directory()
    other.load(log)
    entry = log.take(revoke([issued.credential.name], ORIGIN))
    assert other.authenticate(issued.secret, now)
    other.apply(entry)
    assert refusal(other, issued.secret, now) is Refusal.REVOKED


def test_constant_use_does_not_keep_a_token_alive(
    log: Any, directory: Directory, now: datetime
) -> None:
    """K3: nothing on the request path prolongs anything."""
    issued = give(log, "user:u-ann", now, expires_at=now + 100 * SECOND)
    for second in range(100):
        directory.authenticate(issued.secret, now + second * SECOND)
    assert refusal(directory, issued.secret, now + 100 * SECOND) is Refusal.EXPIRED


def test_request_in_flight_cannot_bring_a_revoked_token_back(
    log: Any, directory: Directory, now: datetime
) -> None:
    """K4: a principal is a value; the directory is written by entries only."""
    issued = give(log, "user:u-ann", now)
    in_flight = directory.authenticate(issued.secret, now)
    log.take(revoke([issued.credential.name], ORIGIN))
    assert refusal(directory, issued.secret, now) is Refusal.REVOKED
    with pytest.raises(Unauthenticated):
        directory.recheck(in_flight, now)
    with pytest.raises(AttributeError):
        in_flight.bound = None  # type: ignore[misc]


@pytest.mark.parametrize("roles", [(), ("tenant-admin",)])
def test_admin_gets_the_same_checks(
    log: Any, directory: Directory, now: datetime, roles: tuple[str, ...]
) -> None:
    """K7: no early way out for the privileged."""
    log.put(User(name="u-ann", roles=roles))
    issued = give(log, "user:u-ann", now)
    assert directory.authenticate(issued.secret, now)
    log.put(User(name="u-ann", roles=roles, state="suspended", suspended_by=("admin",)))
    assert refusal(directory, issued.secret, now) is Refusal.SUSPENDED
    log.put(User(name="u-ann", roles=roles))
    assert directory.authenticate(issued.secret, now)


def test_user_stays_out_while_one_cause_of_suspension_stands(
    log: Any, directory: Directory, now: datetime
) -> None:
    issued = give(log, "user:u-ann", now)
    log.put(User(name="u-ann", state="active", suspended_by=("scim",)))
    assert refusal(directory, issued.secret, now) is Refusal.SUSPENDED


def test_suspended_account_is_refused(log: Any, directory: Directory, now: datetime) -> None:
    issued = give(log, "virtualaccount:checkout", now)
    log.put(VirtualAccount(name="checkout", state="suspended"))
    assert refusal(directory, issued.secret, now) is Refusal.SUSPENDED


@pytest.mark.parametrize(
    ("subject", "key"),
    [
        ("user:u-ann", ("user", "u-ann")),
        ("virtualaccount:checkout", ("virtual-account", "checkout")),
    ],
)
def test_deleted_principal_ends_open_streams_and_new_requests(
    log: Any, directory: Directory, now: datetime, subject: str, key: tuple[str, str]
) -> None:
    """K17: the principal is checked again, not only the credential."""
    issued = give(log, subject, now)
    streaming = directory.authenticate(issued.secret, now)
    assert directory.recheck(streaming, now) == streaming
    log.delete(key)
    assert refusal(directory, issued.secret, now) is Refusal.REVOKED
    with pytest.raises(Unauthenticated):
        directory.recheck(streaming, now)


def test_token_without_an_account_is_refused(log: Any, directory: Directory, now: datetime) -> None:
    issued = give(log, "user:u-nobody", now)
    assert refusal(directory, issued.secret, now) is Refusal.REVOKED


@pytest.mark.parametrize(
    ("offset", "valid"),
    [(-SECOND, True), (-timedelta(microseconds=1), True), (0 * SECOND, False), (SECOND, False)],
)
def test_instant_of_expiry_is_expired(
    log: Any, directory: Directory, now: datetime, offset: timedelta, valid: bool
) -> None:
    ends = now + timedelta(hours=1)
    issued = give(log, "user:u-ann", now, expires_at=ends)
    if valid:
        assert directory.authenticate(issued.secret, ends + offset).expires_at == ends
    else:
        assert refusal(directory, issued.secret, ends + offset) is Refusal.EXPIRED


def test_expiration_date_ends_at_the_following_midnight_utc(
    log: Any, directory: Directory, now: datetime
) -> None:
    log.put(VirtualAccount(name="checkout", expiration_date=date(2026, 3, 31)))
    issued = give(log, "virtualaccount:checkout", now)
    midnight = datetime(2026, 4, 1, tzinfo=UTC)
    last = midnight - timedelta(microseconds=1)
    assert directory.authenticate(issued.secret, last).expires_at == midnight
    assert refusal(directory, issued.secret, midnight) is Refusal.EXPIRED


def test_the_earlier_end_of_token_and_account_counts(
    log: Any, directory: Directory, now: datetime
) -> None:
    log.put(VirtualAccount(name="checkout", expiration_date=date(2026, 3, 31)))
    soon = give(log, "virtualaccount:checkout", now, expires_at=now + SECOND)
    late = give(log, "virtualaccount:checkout", now, expires_at=now + timedelta(days=900))
    assert directory.authenticate(soon.secret, now).expires_at == now + SECOND
    assert directory.authenticate(late.secret, now).expires_at == datetime(2026, 4, 1, tzinfo=UTC)


def test_last_day_of_the_calendar_never_ends() -> None:
    assert account_ends(date.max) is None
    assert account_ends(None) is None


def test_stored_expiry_without_a_zone_is_utc(log: Any, directory: Directory, now: datetime) -> None:
    minted = mint(CredentialKind.PAT)
    log.put(
        Credential(
            name=minted.id,
            token_kind="pat",
            subject="user:u-ann",
            digest=minted.digest,
            created_at=now,
            expires_at=now.replace(tzinfo=None),
        )
    )
    assert directory.authenticate(minted.secret, now - SECOND)
    assert refusal(directory, minted.secret, now) is Refusal.EXPIRED


def test_rotation_keeps_the_old_token_for_the_grace(
    log: Any, directory: Directory, now: datetime
) -> None:
    """R1: at the start, within and after the grace."""
    old = give(log, "virtualaccount:checkout", now)
    new = regenerate(
        "virtualaccount:checkout", [old.credential], ORIGIN, now=now, grace=timedelta(days=1)
    )
    log.take(new.change)
    for instant in (now, now + timedelta(hours=23)):
        assert directory.authenticate(old.secret, instant)
        assert directory.authenticate(new.secret, instant)
    after = now + timedelta(days=1)
    assert refusal(directory, old.secret, after) is Refusal.EXPIRED
    assert directory.authenticate(new.secret, after)


def test_rotation_without_grace_ends_the_old_token_at_once(
    log: Any, directory: Directory, now: datetime
) -> None:
    """R3, R4."""
    old = give(log, "virtualaccount:checkout", now)
    new = regenerate("virtualaccount:checkout", [old.credential], ORIGIN, now=now, grace=0 * SECOND)
    log.take(new.change)
    assert refusal(directory, old.secret, now) is Refusal.EXPIRED
    assert directory.authenticate(new.secret, now)


def test_changed_digest_ends_the_old_secret(log: Any, directory: Directory, now: datetime) -> None:
    issued = give(log, "user:u-ann", now)
    other = mint(CredentialKind.PAT)
    log.put(issued.credential.model_copy(update={"digest": other.digest}))
    assert refusal(directory, issued.secret, now) is Refusal.REVOKED
    assert directory.authenticate(other.secret, now).credential_id == issued.credential.name


def test_loaded_and_applied_directories_agree(
    log: Any, directory: Directory, now: datetime
) -> None:
    kept, ended = (give(log, "user:u-ann", now) for _ in range(2))
    log.take(revoke([ended.credential.name], ORIGIN))
    fresh = Directory()
    fresh.load(log)
    assert len(fresh) == len(directory) == 1
    assert fresh.authenticate(kept.secret, now) == directory.authenticate(kept.secret, now)
    assert refusal(fresh, ended.secret, now) is Refusal.UNKNOWN


def test_loading_again_forgets_what_is_gone(log: Any, directory: Directory, now: datetime) -> None:
    issued = give(log, "user:u-ann", now)
    log.appliers.clear()
    log.delete(issued.credential.key)
    directory.load(log)
    assert refusal(directory, issued.secret, now) is Refusal.UNKNOWN


def test_document_that_cannot_be_read_ends_the_credential(
    log: Any, directory: Directory, now: datetime
) -> None:
    """K8: whatever goes wrong while applying, the old right is gone first."""
    issued = give(log, "user:u-ann", now)
    entry = log.put(User(name="u-ann"))
    broken = {**dump(issued.credential), "digest": "short"}
    change = DocumentChange(issued.credential.key, dump(issued.credential), broken, 2)
    with pytest.raises(ValueError, match="digest"):
        directory.apply(type(entry)(**{**_fields(entry), "documents": (change,)}))
    assert refusal(directory, issued.secret, now) is Refusal.REVOKED


def test_all_credentials_of_a_subject_are_found(
    log: Any, directory: Directory, now: datetime
) -> None:
    mine = [give(log, "user:u-ann", now) for _ in range(3)]
    other = give(log, "virtualaccount:checkout", now)
    assert directory.credentials_of("user:u-ann") == tuple(sorted(i.credential.name for i in mine))
    log.take(revoke(directory.credentials_of("user:u-ann"), ORIGIN))
    assert directory.credentials_of("user:u-ann") == ()
    assert all(refusal(directory, i.secret, now) is Refusal.REVOKED for i in mine)
    assert directory.authenticate(other.secret, now)


def test_credentials_are_found_by_subject_whatever_happened_before(
    log: Any, directory: Directory, now: datetime
) -> None:
    subjects = ("user:u-ann", "virtualaccount:checkout", "user:u-none")
    dice = random.Random(7)
    ids: list[str] = []
    for _ in range(200):
        if ids and dice.random() < 0.4:
            log.take(revoke([ids.pop(dice.randrange(len(ids)))], ORIGIN))
        else:
            ids.append(give(log, dice.choice(subjects), now).credential.name)
        if ids and dice.random() < 0.2:  # an edit: the same credential, another digest
            old = log.stored["credential", dice.choice(ids)]
            log.put(old.model_copy(update={"digest": mint(CredentialKind.PAT).digest}))
    fresh = Directory()
    fresh.load(log)
    for subject in subjects:
        held = {d.name for d in log.documents if getattr(d, "subject", "") == subject}
        assert directory.credentials_of(subject) == tuple(sorted(held))
        assert fresh.credentials_of(subject) == directory.credentials_of(subject)


def test_tombstones_are_bounded(log: Any, directory: Directory, now: datetime) -> None:
    first = give(log, "user:u-ann", now)
    log.take(revoke([first.credential.name], ORIGIN))
    for number in range(MAX_TOMBSTONES):
        directory._digests[str(number)] = number.to_bytes(32, "big")
        directory._drop_token(str(number))
    assert len(directory._tombstones) == MAX_TOMBSTONES
    assert refusal(directory, first.secret, now) is Refusal.UNKNOWN


def _fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}
