"""Case files: what is read, and what a broken one is told."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from penstock.testing import CaseError, load_case, packaged_cases, replay_cases
from penstock.testing.replay import case as case_module
from penstock.testing.replay.case import RecordedRequest, find_cases, parse_case
from tests.testing.recorded import CASSETTES, cassette

MINIMAL = {
    "case": "one",
    "provider": "h2o",
    "exchanges": [
        {
            "request": {"method": "GET", "path": "/", "headers": [["Host", "h"]], "body": "é"},
            "response": {"status": 200, "chunks": [{"t": 0.5, "b64": "aGk="}], "closed": "clean"},
        }
    ],
    "expected": {"text": "half \ud83d", "pieces": None},
    "unknown": 1,
}


def written(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "case.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return path


def test_a_case_is_read(tmp_path: Path) -> None:
    case = load_case(written(tmp_path, MINIMAL))
    request, response = case.exchanges[0].request, case.exchanges[0].response
    assert (request.content, request.header("host"), request.header("x")) == ("é".encode(), "h", "")
    assert (response.content, response.chunks[0].t) == (b"hi", 0.5)
    assert case.expected.text == "half \ud83d"


def test_a_body_may_be_bytes() -> None:
    request = RecordedRequest(method="POST", path="/", body_b64=b"\xff")
    assert request.content == b"\xff"
    assert base64.b64encode(request.content) == b"/w=="


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "not a recorded case"),
        ("{", "not a recorded case"),
        ("[]", "Expected `object`"),
        ('"\\ud83d"', "not a recorded case"),
        (json.dumps({"case": "x"}), "missing required field"),
        (json.dumps({**MINIMAL, "exchanges": []}), "holds no exchange"),
        (json.dumps({**MINIMAL, "exchanges": [{}]}), "$.exchanges[0]"),
        (json.dumps({**MINIMAL, "expected": {"pieces": [1]}}), "$.expected.pieces[0]"),
        (json.dumps(MINIMAL).replace("aGk=", "%%%"), "base64"),
        (json.dumps(MINIMAL).replace('"clean"', '"odd"'), "Invalid enum value"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path: Path, data: str, said: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(CaseError) as caught:
        load_case(path)
    assert str(caught.value).startswith(f"{path}: not a recorded case")
    assert said in str(caught.value)


def test_bytes_that_are_no_text_are_no_case() -> None:
    with pytest.raises(CaseError, match="x: not a recorded case"):
        parse_case(b"\xff\xfe{", "x")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="No such file"):
        load_case(tmp_path / "none.json")


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_module, "MAX_CASE_BYTES", 10)
    with pytest.raises(CaseError, match="larger than"):
        load_case(written(tmp_path, MINIMAL))


def test_files_and_folders_are_found_once(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "two.json").write_text("{}")
    (below / "notes.md").write_text("")
    (tmp_path / "one.json").write_text("{}")
    found = find_cases([tmp_path, tmp_path / "one.json"])
    assert [path.name for path in found] == ["two.json", "one.json"]


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_path_that_holds_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaseError, match=name):
        find_cases([tmp_path / name])


def test_a_path_that_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(CaseError, match="secret: Permission denied"):
        find_cases([Path("secret")])


def test_no_path_is_refused() -> None:
    with pytest.raises(CaseError, match="no path"):
        find_cases([])


def test_expectations_that_say_nothing() -> None:
    assert not cassette("allenai-2025-models-list").expected.says_something
    assert cassette("h2o-line-84k").expected.says_something


async def test_the_package_brings_cases_of_every_protocol_and_they_agree() -> None:
    cases = packaged_cases()
    assert {case.dialect or case.provider for case in cases} == {
        "allenai",
        "openassistant",
        "h2o",
        "chatui",
        "replicate",
        "cog",
    }
    assert {case.provider for case in packaged_cases("h2o")} == {"h2o"}
    summary = await replay_cases(cases)
    assert (summary.passed, summary.failed, summary.skipped) == (len(cases), 0, 0)


def test_packaged_cases_are_the_recorded_ones() -> None:
    for case in packaged_cases():
        assert case == cassette(case.case)
    assert CASSETTES.is_dir()
