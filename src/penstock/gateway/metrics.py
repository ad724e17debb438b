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
MOST_TOKENS = 2**53
"""A server may tell any number; more than this cannot be added up."""
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


class _RequestCells(msgspec.Struct, frozen=True):
    """Where requests for a model that ended in one way are counted."""

    served: list[float]
    first: list[float]
    each: list[float]
    input: list[float]
    output: list[float]


class _TryCells(msgspec.Struct, frozen=True):
    """Where tries at a target that ended in one way are counted."""

    asked: list[float]
    chunk: list[float]
    attempts: list[float]
    retries: list[float]
    pieces: list[float]


class Metrics:
    """The metrics of one gateway.

    Attributes:
        names: which models may be labels.

    Args:
        live: gives what is not counted.
    """

    def __init__(self, live: Callable[[], Live]) -> None:
        self.names = Names()
        self._requests: dict[tuple[str, str, str | None], _RequestCells] = {}
        self._tries: dict[tuple[str, str | None], _TryCells] = {}
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
        self._spreads = (
            self._served,
            self._first,
            self._each,
            self._usage,
            self._asked,
            self._chunk,
        )
        counted = (self._http, self._refusals, self._attempts, self._retries, self._pieces)
        self._counts: tuple[Tally | Spread, ...] = (*counted, *self._spreads)

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
        key = exchange.target, exchange.model, exchange.kind
        cells = self._requests.get(key) or self._request_cells(key)
        cells.served.append(now - exchange.began)
        usage = exchange.usage
        tokens = None
        if usage is not None and not usage.estimated:
            tokens = usage.completion_tokens
            if tokens is not None:
                cells.output.append(min(tokens, MOST_TOKENS))
            if usage.prompt_tokens is not None:
                cells.input.append(min(usage.prompt_tokens, MOST_TOKENS))
        first = exchange.first_content
        if first is None:
            return
        cells.first.append(first - exchange.began)
        tokens = tokens or exchange.pieces
        if tokens > 1 and exchange.kind is None:
            cells.each.append((now - first) / (min(tokens, MOST_TOKENS) - 1))

    def _request_cells(self, key: tuple[str, str, str | None]) -> _RequestCells:
        target, model, kind = key
        call = self._call(target, model, well=kind is None)
        cells = _RequestCells(
            self._served.fresh((*call, kind or "")),
            self._first.fresh(call),
            self._each.fresh(call),
            self._usage.fresh((*call, "input")),
            self._usage.fresh((*call, "output")),
        )
        if call[2] != OTHER:  # of known models there are few
            self._requests[key] = cells
        return cells

    def ended(self, record: AttemptEnded) -> None:
        """A try ended."""
        key = record.target, record.kind
        cells = self._tries.get(key) or self._try_cells(key)
        cells.asked.append(record.duration_s)
        cells.attempts[0] += 1.0
        cells.pieces[0] += record.tokens
        if record.attempt > 1:
            cells.retries[0] += 1.0
        if record.first_content_s is not None:
            cells.chunk.append(record.first_content_s)

    def _try_cells(self, key: tuple[str, str | None]) -> _TryCells:
        target, kind = key
        call = self._call(target, target, well=kind is None)
        cells = _TryCells(
            self._asked.fresh((*call, kind or "")),
            self._chunk.fresh(call),
            self._attempts.cell(call[1:]),
            self._retries.cell(call[1:]),
            self._pieces.cell(call[1:]),
        )
        if call[2] != OTHER:
            self._tries[key] = cells
        return cells

    def settle(self) -> None:
        """Count what was told so far."""
        for spread in self._spreads:
            spread.settle()

    def families(self) -> list[Family]:
        """Every metric as it is now."""
        live = [family_of(metric) for source in self._sources for metric in source.collect()]
        return [*live, *(counted.family() for counted in self._counts)]

    def _call(self, target: str, model: str, *, well: bool) -> tuple[str, str, str]:
        """The labels of a call."""
        if well:
            self.names.admit(model)
        return "chat", provider_of(target), self.names.label(model)


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
