from __future__ import annotations

import pytest

from proxy.metrics import METRICS, Metrics, exposition, merge


def test_a_decision_is_counted_under_its_effect_reason_and_action() -> None:
    metrics = Metrics()
    metrics.decided("deny", "no_grant", "model:use")
    metrics.decided("deny", "no_grant", "model:use")
    text = exposition([metrics.snapshot()]).decode()
    assert (
        'gatewarden_decisions_total{action="model:use",effect="deny",reason="no_grant"} 2.0' in text
    )


def test_histogram_buckets_are_cumulative_and_end_with_the_count() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.003, 500.0):
        metrics.observe("gatewarden_request_seconds", seconds, "chat")
    text = exposition([metrics.snapshot()]).decode()
    assert 'gatewarden_request_seconds_bucket{le="0.001",route="chat"} 1.0' in text
    assert 'gatewarden_request_seconds_bucket{le="0.005",route="chat"} 2.0' in text
    assert 'gatewarden_request_seconds_bucket{le="+Inf",route="chat"} 3.0' in text
    assert 'gatewarden_request_seconds_count{route="chat"} 3.0' in text


def test_a_value_on_a_bound_belongs_to_that_bucket() -> None:
    metrics = Metrics()
    metrics.observe("gatewarden_request_seconds", 0.001, "chat")
    assert 'bucket{le="0.001",route="chat"} 1.0' in exposition([metrics.snapshot()]).decode()


def test_an_answered_request_is_counted_in_one_go_as_it_would_be_one_by_one() -> None:
    together, apart = Metrics(), Metrics()
    together.answered("chat", "2xx", 0.2, 0.1, 9, 5)
    together.answered("chat", "5xx", 0.004, None, None, None)
    for status, seconds in (("2xx", 0.2), ("5xx", 0.004)):
        apart.count("gatewarden_requests", "chat", status)
        apart.observe("gatewarden_request_seconds", seconds, "chat")
    apart.observe("gatewarden_first_byte_seconds", 0.1, "chat")
    apart.count("gatewarden_tokens", "input", by=9)
    apart.count("gatewarden_tokens", "output", by=5)
    assert together.snapshot() == apart.snapshot()


def test_workers_are_summed_and_of_gauges_the_worst_is_shown() -> None:
    first, second = Metrics(), Metrics()
    for metrics, depth, epoch in ((first, 3, 9), (second, 5, 8)):
        metrics.decided("allow", "allowed", "model:use")
        metrics.observe("gatewarden_first_byte_seconds", 0.2, "chat")
        metrics.gauge("gatewarden_journal_depth", lambda depth=depth: depth)  # type: ignore[misc]
        metrics.gauge("gatewarden_policy_epoch", lambda epoch=epoch: epoch)  # type: ignore[misc]
    total = merge([first.snapshot(), second.snapshot()])
    assert total["gatewarden_decisions"][("allow", "allowed", "model:use")] == 2
    assert total["gatewarden_first_byte_seconds"][("chat",)][-1] == pytest.approx(0.4)
    assert total["gatewarden_journal_depth"][()] == 5
    assert total["gatewarden_policy_epoch"][()] == 8


def test_a_gauge_needs_a_declared_name() -> None:
    with pytest.raises(KeyError):
        Metrics().gauge("gatewarden_decisions", lambda: 1)


def test_no_metric_has_a_label_that_a_caller_could_fill() -> None:
    closed = {"effect", "reason", "action", "code", "route", "status", "direction"}
    closed |= {"method", "outcome"}  # of MCP: methods of the table only, else `other`
    assert {label for _, _, labels in METRICS.values() for label in labels} <= closed
