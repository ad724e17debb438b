"""Cases that no recording shows, made from the wire documents, replayed three ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.testing import CaseResult, replay
from tests.testing.constructed import (
    allenai_2025,
    allenai_2026,
    chatui,
    cog,
    h2o,
    odd,
    openassistant,
    openassistant_native,
    replicate,
    replicate_streams,
)

MADE = {
    "allenai": (*allenai_2025.cases(), *allenai_2026.cases()),
    "openassistant": (*openassistant.cases(), *openassistant_native.cases()),
    "h2o": tuple(h2o.cases()),
    "chatui": tuple(chatui.cases()),
    "replicate": (*replicate.cases(), *replicate_streams.cases(), *cog.cases()),
}
KNOWN = [raw for cases in MADE.values() for raw in cases]
ALL = {**MADE, "odd": tuple(odd.cases(KNOWN))}
NAMES = [raw["case"] for cases in ALL.values() for raw in cases]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, CaseResult]:
    folder = tmp_path_factory.mktemp("constructed")
    for protocol, cases in ALL.items():
        for raw in cases:
            write(folder / protocol / "deeper" / f"{raw['case']}.json", raw)
    return {result.case: result for result in replay([folder]).results}


def write(path: Path, raw: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(raw), encoding="utf-8")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_the_outcome_is_what_the_document_says(
    name: str, results: Mapping[str, CaseResult]
) -> None:
    result = results[name]
    assert result.lines() == []
    assert result.verdict == "passed"


def test_every_case_has_its_own_name() -> None:
    assert len(set(NAMES)) == len(NAMES)
