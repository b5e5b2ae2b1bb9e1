"""Errors of the store folder: what can go wrong between a decision to write and its being durable."""

from __future__ import annotations

from authz.errors import GatewardenError


class StoreError(GatewardenError):
    code = "store_error"


class StoreUnavailable(StoreError):
    """The store cannot be reached or does not answer; nothing was written, or it is unknown whether."""

    code = "store_unavailable"


class StoreRestored(StoreUnavailable):
    """The store lacks what was applied here: it was restored, and nobody has confirmed that yet."""

    code = "store_restored"


class UnsupportedStore(StoreError):
    """The URL of the store is of a kind that this version does not have."""

    code = "unsupported_store"


class StoreTooNew(StoreError):
    """The store was written by a newer version, which this one cannot read."""

    code = "store_too_new"


class HeadMoved(StoreError):
    """Another process committed first. Never leaves this folder: the change is planned again."""

    code = "head_moved"


class LogDamaged(StoreError):
    """An entry does not follow from the one before it."""

    code = "log_damaged"


class SealBroken(StoreError):
    """A sealed value does not open: another key, another place, or tampered with."""

    code = "seal_broken"
