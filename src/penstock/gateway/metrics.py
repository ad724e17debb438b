"""What ``GET /metrics`` says, by the names of the semantic conventions for generative AI.

Laws:
* a request is published once, at its end; a token costs nothing here;
* labels are bounded: the name of a model becomes one when it is configured or has answered, and
  there are never more than ``MOST_MODELS``; every other name is ``other``, for callers make up
  names;
* each process counts for itself. Where there are several, each answers with the samples of all,
  told apart by the label ``worker``, so that a sum is right and a restart is a usual reset.

Source of names, labels and bounds: the OpenTelemetry semantic conventions (gen_ai), spelled as
Prometheus does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client import ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock import __version__
from penstock.gateway.exchange import Exchange
from penstock.gateway.tallies import Family, Spread, Tally
from penstock.observe import AttemptEnded, Breaker

MOST_MODELS = 200
OTHER = "other"
STATES: tuple[Breaker, ...] = ("closed", "open", "half_open")
_CALL = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_ENDED = (*_CALL, "error_type")
_TARGET = ("gen_ai_provider_name", "gen_ai_request_model")

# Doubling from 10 ms, as the conventions have it.
DURATIONS = tuple(0.01 * 2**step for step in range(14))
# The conventions end at 10 s: back ends with queues and cold starts take longer.
FIRST_TOKENS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120)
TOKEN_TIMES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2.5)
TOKENS = tuple(float(4**step) for step in range(14))


class Live(msgspec.Struct, frozen=True):
    """What is read when somebody asks, and not counted.

    Attributes:
        streams: answers under way.
        ready: new requests are taken.
        cleanups: undos on remote servers that are under way.
        failed_cleanups: those that failed, since the start.
        breakers: target -> state of its breaker.
        in_flight: target -> tries under way.
    """

    streams: int
    ready: bool
    cleanups: int
    failed_cleanups: int
    breakers: dict[str, Breaker]
    in_flight: dict[str, int]


class Names:
    """Names of models that may be labels."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def admit(self, *names: str) -> None:
        """These are models."""
        for name in names:
            if len(self._known) < MOST_MODELS:
                self._known.add(name)

    def label(self, name: str) -> str:
        """``name`` where it is known, else ``other``."""
        return name if name in self._known else OTHER


class _Gauges(Collector):
    """The live values as metrics."""

    def __init__(self, live: Callable[[], Live], names: Names) -> None:
        self._live = live
        self._names = names

    def collect(self) -> Iterator[Metric]:
        live = self._live()
        yield GaugeMetricFamily("penstock_open_streams", "Answers under way.", live.streams)
        yield GaugeMetricFamily(
            "penstock_ready", "1 while new requests are taken.", float(live.ready)
        )
        yield GaugeMetricFamily(
            "penstock_cleanups_pending", "Undos on remote servers under way.", live.cleanups
        )
        yield CounterMetricFamily(
            "penstock_cleanups_failed", "Undos on remote servers that failed.", live.failed_cleanups
        )
        info = GaugeMetricFamily("penstock_build_info", "The version.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        flight = GaugeMetricFamily("penstock_in_flight", "Tries under way.", labels=_TARGET)
        for labels, count in self._summed(live.in_flight).items():
            flight.add_metric(labels, count)
        yield flight
        state = GaugeMetricFamily(
            "penstock_breaker_state", "1 for the state it is in.", labels=[*_TARGET, "state"]
        )
        for name, is_in in live.breakers.items():
            if self._names.label(name) != OTHER:
                for each in STATES:
                    state.add_metric([provider_of(name), name, each], float(each == is_in))
        yield state

    def _summed(self, counts: dict[str, int]) -> dict[tuple[str, str], int]:
        summed: dict[tuple[str, str], int] = {}
        for name, count in counts.items():
            labels = (provider_of(name), self._names.label(name))
            summed[labels] = summed.get(labels, 0) + count
        return summed


class Metrics:
    """The metrics of one gateway.

    Attributes:
        names: which models may be labels.

    Args:
        live: gives what is not counted.
    """

    def __init__(self, live: Callable[[], Live]) -> None:
        self.names = Names()
        self._calls: dict[tuple[str, str], tuple[str, str, str]] = {}
        self._sources = (_Gauges(live, self.names), ProcessCollector(registry=None))
        self._http = Tally(
            "penstock_http_requests", "Requests, by what they were answered.", ("route", "status")
        )
        self._refusals = Tally(
            "penstock_refusals",
            "Requests that were refused before any target was asked.",
            ("status",),
        )
        self._attempts = Tally("penstock_attempts", "Tries that ended.", _TARGET)
        self._retries = Tally(
            "penstock_retries", "Tries that were not the first of their request.", _TARGET
        )
        self._pieces = Tally(
            "penstock_output_pieces", "Pieces of answers; servers send about one a token.", _TARGET
        )
        self._served = Spread(
            "gen_ai_server_request_duration_seconds",
            "From a request's first header to its answer's last byte.",
            DURATIONS,
            _ENDED,
        )
        self._first = Spread(
            "gen_ai_server_time_to_first_token_seconds",
            "From a request's first header to its answer's first piece, where it is streamed.",
            FIRST_TOKENS,
            _CALL,
        )
        self._each = Spread(
            "gen_ai_server_time_per_output_token_seconds",
            "Time for each token after the first, where the answer is streamed.",
            TOKEN_TIMES,
            _CALL,
        )
        self._usage = Spread(
            "gen_ai_client_token_usage",
            "Tokens of a request, where the back end counts them.",
            TOKENS,
            (*_CALL, "gen_ai_token_type"),
        )
        self._asked = Spread(
            "gen_ai_client_operation_duration_seconds",
            "One try at one target, from its begin to its last event.",
            DURATIONS,
            _ENDED,
        )
        self._chunk = Spread(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From the begin of a try to its first piece.",
            FIRST_TOKENS,
            _CALL,
        )
        counted = (self._http, self._refusals, self._attempts, self._retries, self._pieces)
        spread = (self._served, self._first, self._each, self._usage, self._asked, self._chunk)
        self._counts: tuple[Tally | Spread, ...] = (*counted, *spread)

    def request(self, exchange: Exchange, route: str, now: float) -> None:
        """A request ended.

        Args:
            route: the template of its path, never the path itself.
        """
        self._http.add((route, str(exchange.status)))
        if exchange.target is None or exchange.model is None:
            if exchange.status >= 400 and exchange.status != 499:
                self._refusals.add((str(exchange.status),))
            return
        call = self._call(exchange.target, exchange.model, well=exchange.kind is None)
        self._served.add((*call, exchange.kind or ""), now - exchange.began)
        usage = exchange.usage
        tokens = None
        if usage is not None and not usage.estimated:
            tokens = usage.completion_tokens
            if tokens is not None:
                self._usage.add((*call, "output"), tokens)
            if usage.prompt_tokens is not None:
                self._usage.add((*call, "input"), usage.prompt_tokens)
        first = exchange.first_content
        if first is None:
            return
        self._first.add(call, first - exchange.began)
        tokens = tokens or exchange.pieces
        if tokens > 1 and exchange.kind is None:
            self._each.add(call, (now - first) / (tokens - 1))

    def ended(self, record: AttemptEnded) -> None:
        """A try ended."""
        call = self._call(record.target, record.target, well=record.kind is None)
        target = call[1:]
        self._asked.add((*call, record.kind or ""), record.duration_s)
        self._attempts.add(target)
        if record.attempt > 1:
            self._retries.add(target)
        if record.first_content_s is not None:
            self._chunk.add(call, record.first_content_s)
        if record.tokens:
            self._pieces.add(target, record.tokens)

    def families(self) -> list[Family]:
        """Every metric as it is now."""
        live = [family_of(metric) for source in self._sources for metric in source.collect()]
        return [*live, *(counted.family() for counted in self._counts)]

    def _call(self, target: str, model: str, *, well: bool) -> tuple[str, str, str]:
        """The labels of a call; those of a known model are remembered, for there are so few."""
        labels = self._calls.get((target, model))
        if labels is None:
            if well:
                self.names.admit(model)
            labels = "chat", provider_of(target), self.names.label(model)
            if labels[2] != OTHER:
                self._calls[target, model] = labels
        return labels


def family_of(metric: Metric) -> Family:
    """A metric of ``prometheus_client`` as one of ours."""
    samples = [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples]
    return Family(metric.name, metric.type, metric.documentation, samples)


def rendered(workers: Mapping[str, Sequence[Family]], accept: str) -> tuple[bytes, str]:
    """The text of all samples, and its content type.

    Args:
        workers: label of a process -> its families; one under the empty label stays unlabelled.
        accept: the header of that name.
    """
    encode, kind = choose_encoder(accept)
    return encode(_Samples(joined(workers))), kind


def joined(workers: Mapping[str, Sequence[Family]]) -> list[Metric]:
    """One metric for each name, with the samples of all processes."""
    metrics: dict[str, Metric] = {}
    for worker, families in workers.items():
        extra = {"worker": worker} if worker else {}
        for family in families:
            metric = metrics.setdefault(family.name, Metric(family.name, family.told, family.kind))
            for name, labels, value in family.samples:
                metric.add_sample(name, {**extra, **labels}, value)
    return list(metrics.values())


class _Samples(Collector):
    """Metrics that were collected elsewhere."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def provider_of(target: str) -> str:
    """The provider of ``provider/model``."""
    return target.partition("/")[0]
