"""The tables of pools, targets and the breaker: what they become and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import load
from penstock.config.routing import BreakerRules, Pool, Routing, TargetLimits
from penstock.errors import ConfigError

KNOWN = {"h2o": None, "replicate": "REPLICATE_API_TOKEN"}
WHOLE = """
[aliases]
quick = "h2o/falcon-40b"
any = "fast"

[pools.fast]
targets = ["quick", "replicate/meta/meta-llama-3.1-70b", "h2o/falcon-40b"]
strategy = "least_busy"
hedge = 1.5
retries = 2
retry_wait = 3
timeouts = { first_content = 20, total = false }

[targets."replicate/meta/meta-llama-3.1-70b"]
concurrency = 8
rpm = 60
tpm = 100000

[targets.h2o]
concurrency = 2
wait = 0

[breaker]
failures = 3
"""


def routing(text: str, folder: Path) -> Routing:
    file = folder / "penstock.toml"
    file.write_text(text)
    return load(file, env={}, known=KNOWN).routing


def test_the_tables_become_values(tmp_path: Path) -> None:
    read = routing(WHOLE, tmp_path)
    assert read.pools == {
        "fast": Pool(
            targets=("h2o/falcon-40b", "replicate/meta/meta-llama-3.1-70b"),
            strategy="least_busy",
            hedge=1.5,
            retries=2,
            retry_wait=3.0,
            timeouts={"first_content": 20.0, "total": None},
        )
    }
    assert read.targets == {
        "replicate/meta/meta-llama-3.1-70b": TargetLimits(concurrency=8, rpm=60, tpm=100000),
        "h2o": TargetLimits(concurrency=2, wait=0.0),
    }
    assert read.breaker == BreakerRules(failures=3)
    assert read.aliases == {"quick": "h2o/falcon-40b", "any": "fast"}


def test_without_tables_nothing_is_limited(tmp_path: Path) -> None:
    assert routing("", tmp_path) == Routing()


def test_an_empty_breaker_table_means_its_defaults_for_all(tmp_path: Path) -> None:
    assert routing("[breaker]\n", tmp_path).breaker == BreakerRules()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pools.fast]\n", "1: pools.fast.targets: it must name at least one provider/model"),
        (
            '[pools.fast]\ntargets = ["h20/falcon"]\n',
            "2: pools.fast.targets: h20/falcon names no provider and no alias",
        ),
        ('[pools.h2o]\ntargets = ["h2o/a"]\n', "the name of a pool is no alias, no provider"),
        ('[pools."a/b"]\ntargets = ["h2o/a"]\n', "the name of a pool is no alias, no provider"),
        (
            '[pools.fast]\ntargets = ["h2o/a"]\nstrategy = "random"\n',
            "3: pools.fast.strategy: ",
        ),
        (
            '[pools.fast]\ntargets = ["h2o/a"]\nhedge = 0\n',
            "3: pools.fast.hedge: it must be from 0.001 to 3600",
        ),
        (
            '[pools.fast]\ntargets = ["h2o/a"]\nretries = 11\n',
            "3: pools.fast.retries: it must be from 0 to 10",
        ),
        (
            '[pools.fast]\ntargets = ["h2o/a"]\nretrys = 1\n',
            "3: pools.fast.retrys: there is no such setting; did you mean retries?",
        ),
        (
            '[pools.fast]\ntargets = ["h2o/a"]\ntimeouts = { first = 1 }\n',
            "3: pools.fast.timeouts.first: there is no such setting",
        ),
        ('[pools]\nfast = "h2o/a"\n', "2: pools.fast: it must be a table"),
        ("pools = 3\n", "1: pools: it must hold tables"),
        (
            '\n[targets."replicate/meta/llama-3.1"]\nrpm = 0\n',
            '3: targets."replicate/meta/llama-3.1".rpm: it must be from 1 to',
        ),
        ("[targets.fast]\n", "1: targets.fast: the name of a target is provider/model"),
        ("[targets.h2o]\nconcurrency = 1.5\n", "2: targets.h2o.concurrency: it must be a whole"),
        ("[breaker]\nopen = 400\n", "breaker.open_most: it must be from 400 to 86400"),
        ("[breaker]\nerror_rate = 2\n", "2: breaker.error_rate: it must be from 0.01 to 1"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        routing(text, tmp_path)
    assert said in str(caught.value)
