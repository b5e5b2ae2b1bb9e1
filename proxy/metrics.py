"""Prometheus metrics, counted on plain dictionaries so that a request pays nanoseconds for them.

Label values come from closed lists (effects, reasons, actions, route names, status classes), never from
a caller, so the number of series is bounded. Samples are made at scrape time; with several workers the
one that is scraped sums the snapshots of its siblings (`proxy/workers.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    120.0,
)

# name -> (kind, help, labels); `docs/operations.md` has a heading for each (tested).
METRICS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "gatewarden_decisions": (
        "counter",
        "Decisions by effect, reason and action.",
        ("effect", "reason", "action"),
    ),
    "gatewarden_unauthenticated": (
        "counter",
        "Requests without a valid credential, by code.",
        ("code",),
    ),
    "gatewarden_requests": (
        "counter",
        "Answered requests by route and status class.",
        ("route", "status"),
    ),
    "gatewarden_mcp_requests": (
        "counter",
        "MCP messages by method and what came of them.",
        ("method", "outcome"),
    ),
    "gatewarden_mcp_listeners": (
        "gauge",
        "Open streams of MCP clients that wait for notifications.",
        (),
    ),
    "gatewarden_request_seconds": (
        "histogram",
        "Seconds from the first byte of a request to the last of its answer.",
        ("route",),
    ),
    "gatewarden_first_byte_seconds": (
        "histogram",
        "Seconds until the first byte of an answer.",
        ("route",),
    ),
    "gatewarden_upstream_errors": (
        "counter",
        "Upstream calls that failed, by code.",
        ("code",),
    ),
    "gatewarden_tokens": (
        "counter",
        "Tokens that providers reported, by direction.",
        ("direction",),
    ),
    "gatewarden_alarms": ("counter", "Alarms raised, by code.", ("code",)),
    "gatewarden_journal_depth": ("gauge", "Records waiting to be written.", ()),
    "gatewarden_journal_age_seconds": ("gauge", "Age of the oldest record that waits.", ()),
    "gatewarden_journal_writable": ("gauge", "1 while the journal takes records.", ()),
    "gatewarden_records_behind": (
        "gauge",
        "Records of the journal that cannot be queried yet.",
        (),
    ),
    "gatewarden_payloads": (
        "counter",
        "What was said in requests and was to be kept: kept, or lost and why.",
        ("outcome",),
    ),
    "gatewarden_siem_events": (
        "gauge",
        "Events that this process has streamed to the security monitor since its start.",
        (),
    ),
    "gatewarden_siem_failures": (
        "gauge",
        "Attempts in a row that the security monitor took no events.",
        (),
    ),
    "gatewarden_checkpoint_copies": (
        "gauge",
        "Checkpoints that this process has copied to the second place since its start.",
        (),
    ),
    "gatewarden_checkpoint_copy_failures": (
        "gauge",
        "Attempts in a row that a checkpoint could not be copied to the second place.",
        (),
    ),
    "gatewarden_policy_epoch": ("gauge", "Epoch that this process decides by.", ()),
    "gatewarden_policy_age_seconds": ("gauge", "Seconds since the last successful poll.", ()),
    "gatewarden_policy_rebuilds": (
        "gauge",
        "Times since the start that the policy here differed from the change log and was made anew.",
        (),
    ),
    "gatewarden_replicas_live": ("gauge", "Processes that follow the change log now.", ()),
    "gatewarden_replicas_lowest_epoch": (
        "gauge",
        "Lowest epoch that one of them has applied.",
        (),
    ),
    "gatewarden_clock_skew_seconds": (
        "gauge",
        "Seconds between the clock here and the store's.",
        (),
    ),
    "gatewarden_up": ("gauge", "1 while the process is ready.", ()),
}
# Of several workers: the worst one is what an operator wants to see.
_WORST_IS_LEAST = frozenset(
    {
        "gatewarden_journal_writable",
        "gatewarden_policy_epoch",
        "gatewarden_replicas_live",
        "gatewarden_replicas_lowest_epoch",
        "gatewarden_up",
    }
)

Snapshot = dict[str, list[Any]]
_Series = dict[tuple[str, ...], list[float]]

_INPUT, _OUTPUT = ("input",), ("output",)


class Metrics:
    """Counters and histograms of one process. Gauges are callables, read at scrape time."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[tuple[str, ...], float]] = {
            name: {} for name, (kind, _, _) in METRICS.items() if kind == "counter"
        }
        self._buckets: dict[str, _Series] = {
            name: {} for name, (kind, _, _) in METRICS.items() if kind == "histogram"
        }
        self._gauges: dict[str, Callable[[], float]] = {}
        self._decisions = self._counts["gatewarden_decisions"]
        self._requests = self._counts["gatewarden_requests"]
        self._tokens = self._counts["gatewarden_tokens"]
        self._seconds = self._buckets["gatewarden_request_seconds"]
        self._first_bytes = self._buckets["gatewarden_first_byte_seconds"]

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add `by` to a counter."""
        series = self._counts[name]
        series[labels] = series.get(labels, 0) + by

    def decided(self, effect: str, reason: str, action: str) -> None:
        """Count one decision."""
        key = (effect, reason, action)
        self._decisions[key] = self._decisions.get(key, 0) + 1

    def answered(
        self,
        route: str,
        status: str,
        seconds: float,
        first_byte: float | None,
        taken: int | None,
        made: int | None,
    ) -> None:
        """Count one request that was answered, in one call, since each of them makes it.

        `first_byte` in seconds, None if there was none; `taken` and `made` are its tokens, None if unknown.
        """
        requests, key, of_route = self._requests, (route, status), (route,)
        requests[key] = requests.get(key, 0) + 1
        _put(self._seconds, of_route, seconds)
        if first_byte is not None:
            _put(self._first_bytes, of_route, first_byte)
        tokens = self._tokens
        if taken is not None:
            tokens[_INPUT] = tokens.get(_INPUT, 0) + taken
        if made is not None:
            tokens[_OUTPUT] = tokens.get(_OUTPUT, 0) + made

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Put `seconds` into a histogram."""
        _put(self._buckets[name], labels, seconds)

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Read gauge `name` with `read` at each scrape."""
        if METRICS[name][0] != "gauge":
            raise KeyError(name)
        self._gauges[name] = read

    def snapshot(self) -> Snapshot:
        """All values as JSON-able lists, for a sibling that sums them."""
        found: Snapshot = {}
        for name, counts in self._counts.items():
            found[name] = [[list(labels), value] for labels, value in counts.items()]
        for name, buckets in self._buckets.items():
            found[name] = [[list(labels), list(cells)] for labels, cells in buckets.items()]
        for name, read in self._gauges.items():
            found[name] = [[[], float(read())]]
        return found


def _put(series: _Series, labels: tuple[str, ...], seconds: float) -> None:
    """Into a histogram; the last two cells are the count above all bounds and the sum."""
    cells = series.get(labels)
    if cells is None:
        cells = series[labels] = [0.0] * (len(SECONDS) + 2)
    cells[bisect_left(SECONDS, seconds)] += 1
    cells[-1] += seconds


def merge(snapshots: Iterable[Snapshot]) -> dict[str, dict[tuple[str, ...], Any]]:
    """The sum of counters and histograms; of gauges the worst value."""
    total: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in METRICS}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            kind, series = METRICS[name][0], total[name]
            for listed, value in samples:
                labels = tuple(listed)
                if labels not in series:
                    series[labels] = value
                elif kind == "histogram":
                    series[labels] = [a + b for a, b in zip(series[labels], value, strict=True)]
                elif kind == "counter":
                    series[labels] += value
                else:
                    worst = min if name in _WORST_IS_LEAST else max
                    series[labels] = worst(series[labels], value)
    return total


class _Collector(Collector):
    def __init__(self, values: Mapping[str, Mapping[tuple[str, ...], Any]]) -> None:
        self._values = values

    def collect(self) -> Iterable[Metric]:
        for name, (kind, text, labels) in METRICS.items():
            if kind == "counter":
                counter = CounterMetricFamily(name, text, labels=labels)
                for key, value in sorted(self._values[name].items()):
                    counter.add_metric(key, value)
                yield counter
            elif kind == "gauge":
                gauge = GaugeMetricFamily(name, text, labels=labels)
                for key, value in self._values[name].items():
                    gauge.add_metric(key, value)
                yield gauge
            else:
                histogram = HistogramMetricFamily(name, text, labels=labels)
                for key, cells in sorted(self._values[name].items()):
                    total, buckets = 0.0, []
                    for bound, cell in zip((*map(str, SECONDS), "+Inf"), cells[:-1], strict=True):
                        total += cell
                        buckets.append((bound, total))
                    histogram.add_metric(key, buckets, sum_value=cells[-1])
                yield histogram


def exposition(snapshots: Iterable[Snapshot]) -> bytes:
    """The text that Prometheus scrapes, of one or more workers' snapshots."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(merge(snapshots)))
    return generate_latest(registry)
