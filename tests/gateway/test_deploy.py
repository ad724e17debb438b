"""The files in ``deploy/`` name what exists: metrics, labels, commands, locks, limits."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli
from penstock.config.gateway import Limits
from tools.metrics_reference import families

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"\b(?:gen_ai|penstock|process)_\w+")
SELECTOR = re.compile(r"\b((?:gen_ai|penstock|process)_\w+)\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
SCRAPED = {"instance", "job", "worker"}
"""Labels that Prometheus or several workers add."""


# -- the dashboard -------------------------------------------------------------------------------


def told_metrics() -> dict[str, set[str]]:
    """Sample name -> its labels."""
    samples = [sample for family in families() for sample in family.samples]
    return {name: set(labels) for name, labels, _ in samples}


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


def breaches(expressions: Iterable[str], known: dict[str, set[str]]) -> list[str]:
    """What expressions name that no metric has."""
    labels = set[str]().union(*known.values())
    found = []
    for expression in expressions:
        named = set(METRIC.findall(expression)) - labels
        found += [f"no metric {name}" for name in named - known.keys()]
        for name, conditions in SELECTOR.findall(expression):
            used = set(re.findall(r"(\w+)\s*[=!]", conditions))
            found += [f"{name} has no label {each}" for each in used - known.get(name, set())]
        for group in GROUPING.findall(expression):
            used = {each.strip() for each in group.split(",")}
            present = SCRAPED.union(*(known.get(name, set()) for name in named))
            found += [f"{expression}: no label {each}" for each in used - present]
    return found


def dashboard_of_ours() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))
    return loaded


def test_every_metric_and_label_of_the_dashboard_exists() -> None:
    dashboard = dashboard_of_ours()
    assert len(list(expressions(dashboard))) > 25
    assert breaches(expressions(dashboard), told_metrics()) == []


def test_every_metric_and_label_of_the_alerts_exists() -> None:
    text = (DEPLOY / "prometheus-alerts.yml").read_text("utf-8")
    rules = re.findall(r"^ +expr: (.+)$", text, re.MULTILINE)
    assert len(rules) == text.count("- alert: ") == text.count("summary: ") > 5
    assert breaches(rules, told_metrics()) == []
    known = SCRAPED.union(*told_metrics().values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= known


def test_what_does_not_exist_would_be_found() -> None:
    dashboard = dashboard_of_ours()
    dashboard["panels"][1]["targets"][0]["expr"] = (
        'sum by (colour) (penstock_streams) + penstock_ready{state="open"}'
    )
    assert sorted(breaches(expressions(dashboard), told_metrics())) == [
        "no metric penstock_streams",
        "penstock_ready has no label state",
        'sum by (colour) (penstock_streams) + penstock_ready{state="open"}: no label colour',
    ]


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = set(METRIC.findall(" ".join(expressions(dashboard_of_ours()))))
    ours = {name for name in told_metrics() if not name.startswith("process_")}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in ours}
    seen = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    assert families - seen == {"penstock_build_info"}


def test_panels_have_ids_of_their_own_and_do_not_lie_over_each_other() -> None:
    panels = dashboard_of_ours()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        rows = range(place["y"], place["y"] + place["h"])
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in rows}
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own


# -- the unit ------------------------------------------------------------------------------------


def unit() -> dict[str, list[str]]:
    """Directive -> its values."""
    values: dict[str, list[str]] = {}
    for line in (DEPLOY / "penstock.service").read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            values.setdefault(name, []).append(value)
    return values


def exit_code(arguments: list[str]) -> int:
    """Not 0 where our command does not know these arguments; nothing is served."""
    assert "serve" in arguments
    return CliRunner().invoke(cli, [*arguments, "--help"]).exit_code


def test_the_unit_runs_our_command_and_waits_long_enough_for_its_end() -> None:
    given = unit()
    (start,) = given["ExecStart"]
    assert exit_code(shlex.split(start)[1:]) == 0
    assert exit_code([*shlex.split(start)[1:], "--no-such"]) != 0
    assert given["Type"] == ["exec"]
    assert given["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    # Answers under way, then cleanups, then the server's own end.
    assert int(given["TimeoutStopSec"][0]) >= Limits().drain + 10 + 5
    assert given["User"] == ["penstock"]
    assert given["NoNewPrivileges"] == ["yes"]
    assert given["CapabilityBoundingSet"] == [""]
    assert given["ProtectSystem"] == ["strict"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_finds_no_mistake_in_the_unit_and_little_exposure(tmp_path: Path) -> None:
    text = (DEPLOY / "penstock.service").read_text("utf-8")
    placed = tmp_path / "penstock.service"
    program = "/bin/true"  # one that is there, for that is looked into
    placed.write_text(text.replace("/opt/penstock/bin/penstock", program), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", placed],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", placed],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- the image -----------------------------------------------------------------------------------


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines joined."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.split("\n") if line]


def stages() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    every = instructions(DEPLOY / "Dockerfile")
    last = max(at for at, (word, _) in enumerate(every) if word == "FROM")
    return every[:last], every[last:]


def test_everything_that_an_index_gives_has_its_hash() -> None:
    commands = [
        command.strip()
        for word, given in stages()[0]
        if word == "RUN"
        for command in given.split("&&")
    ]
    installs = [command for command in commands if "pip install" in command]
    assert len(installs) == 3
    for command in installs:
        if "--no-index" not in command:
            assert "--require-hashes --no-deps -r requirements/" in command
            lock = ROOT / command.rsplit(" ", 1)[1]
            assert "--hash=sha256:" in lock.read_text("utf-8")
    (wheel,) = (command for command in commands if "pip wheel" in command)
    assert "--no-build-isolation" in wheel
    assert "--no-deps" in wheel


def test_the_lock_of_the_image_holds_what_the_extra_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["gateway"], *extras["otel"]]
    lock = (ROOT / "requirements" / "gateway.txt").read_text("utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert {re.split(r"[>=;\[]", each)[0].strip() for each in wanted} <= locked
    everything = (ROOT / "requirements" / "dev.txt").read_text("utf-8")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    tested = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", everything, re.MULTILINE))
    assert {name: tested.get(name) for name in pinned} == pinned, "the image has what was tested"


def test_the_image_runs_our_command_as_nobody_and_tells_how_it_is() -> None:
    final = dict(stages()[1])
    user, _, group = final["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(final["ENTRYPOINT"]) == ["penstock"]
    assert exit_code(json.loads(final["CMD"])) == 0
    assert "/health/ready" in final["HEALTHCHECK"]
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert "RUN" not in final, "the last stage installs nothing"
    assert all("latest" not in given for word, given in instructions(DEPLOY / "Dockerfile"))


def test_what_the_image_is_built_from_is_not_left_out() -> None:
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split()
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / name).exists() for name in kept)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["readme"] in kept
    assert {"src", "web", "tools", "requirements", "hatch_build.py", "pyproject.toml"} <= kept


def test_the_composed_service_can_do_little() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    for line in ("read_only: true", "- ALL", "- no-new-privileges:true", "dockerfile: deploy/"):
        assert line in text
    assert '"127.0.0.1:8787:8787"' in text, "reachable from this machine alone, unless changed"
