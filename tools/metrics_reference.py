"""The metrics of the gateway with their labels, from a gateway that has done everything once."""

from __future__ import annotations

import msgspec

from penstock.gateway.exchange import Exchange
from penstock.gateway.metrics import Live, Metrics
from penstock.gateway.tallies import Family
from penstock.observe import AttemptEnded
from penstock.types import Usage

PARTS = ("_bucket", "_count", "_sum")


class Told(msgspec.Struct, frozen=True):
    """One metric as a reader knows it.

    Attributes:
        labels: without those that Prometheus adds.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def families() -> list[Family]:
    """Every metric with at least one sample."""
    live = Live(1, True, 0, 0, {"h2o/x": "closed"}, {"h2o/x": 1})
    metrics = Metrics(lambda: live)
    metrics.names.admit("h2o/x")
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    metrics.ended(AttemptEnded("r", "h2o/x", 2, 1.0, None, 0.1, 0.5, 3, usage, True))
    exchange = Exchange({"method": "POST", "path": "/v1/chat/completions", "headers": []}, 0.0)
    exchange.status = 400
    metrics.request(exchange, exchange.path, 1.0)
    exchange.model = exchange.target = "h2o/x"
    exchange.first_content, exchange.usage = 0.5, usage
    metrics.request(exchange, exchange.path, 1.0)
    return metrics.families()


def told() -> list[Told]:
    """Our own metrics, those of the conventions first."""
    made = []
    for family in families():
        name = family.name + "_total" * (family.kind == "counter")
        if name.startswith(("gen_ai_", "penstock_")):
            labels = [label for _, given, _ in family.samples for label in given if label != "le"]
            unique = tuple(dict.fromkeys(labels))
            made.append(Told(name, family.kind, unique, family.told))
    return sorted(made, key=lambda one: one.name)
