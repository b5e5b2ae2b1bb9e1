"""INTERFACE STUB of the catalogue (an Applier); the body follows."""

from __future__ import annotations

from proxy.providers.base import Upstream


class Catalogue:
    def model(self, name: str) -> Upstream | None:
        """The model called `<account>/<model>`, or None."""
        raise NotImplementedError

    def models(self) -> list[Upstream]:
        """All models, sorted by name."""
        raise NotImplementedError
