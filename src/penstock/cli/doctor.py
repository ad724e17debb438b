"""``penstock doctor``: asks each configured provider the cheapest question that proves it works.

None of these questions runs a model; ``penstock.cli.proofs`` knows them. Nothing is asked of a
server that the configuration or the command does not name.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import msgspec

from penstock.cli.completion import complete_providers
from penstock.errors import PenstockError
from penstock.types import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.client import Client
    from penstock.provider import ProviderConfig

CLOSED = {
    "openassistant": ("open-assistant.io", "open-assistant.io is closed since October 2023"),
    "h2o": ("gpt-gm.h2o.ai", "gpt-gm.h2o.ai is gone"),
}
"""Provider -> the public server it once had, and what became of it (wire/openassistant.md, its
beginning; wire/h2o.md, its beginning)."""

LISTS_PROVE_LOGIN = frozenset(
    {"openassistant", "replicate", "openai", "groq", "together", "mistral", "deepseek"}
)
"""Providers whose list of models is refused without a valid credential."""

LONGEST = 15.0
"""Seconds a provider may take; who is slower is told as failed."""


NOTHING = (
    "No provider is configured, so none was asked. `penstock providers` says what each needs; "
    "`penstock doctor allenai` asks one that needs nothing."
)


class Finding(Value, frozen=True, kw_only=True, omit_defaults=False):
    """What is known of one provider.

    Attributes:
        state: ``closed`` where its public server is gone and no other is named.
        configured: it counts for the exit code.
        login: ``accepted``, ``sent`` (not refused, but the question proves no login), ``none``.
        models: ids, as ``provider/model``.
        more: the server has further models, for which it was not asked.
        kind: of the error, from the vocabulary.
    """

    provider: str
    state: str
    configured: bool = True
    dialect: str | None = None
    login: str | None = None
    models: tuple[str, ...] = ()
    more: bool = False
    milliseconds: int | None = None
    kind: str | None = None
    message: str = ""


@click.command()
@click.argument("providers", nargs=-1, shell_complete=complete_providers)
@click.option("--json", "as_json", is_flag=True, help="As JSON, one provider a line.")
@click.pass_obj
def doctor(config_path: str | None, providers: tuple[str, ...], as_json: bool) -> None:
    """Ask every configured provider, or PROVIDERS, whether it works.

    Each is asked for its list of models (Replicate for the account, a Cog server for its health):
    is it reachable, does it take the credential, how fast is it. No model is run. Exit code 1 if
    one of them fails.
    """
    from penstock.cli.render import folded

    findings = asyncio.run(_examine(config_path, providers))
    for finding in findings:
        click.echo(msgspec.json.encode(finding) if as_json else folded(_line(finding)))
    if not any(finding.configured for finding in findings):
        click.echo(folded(NOTHING, err=True), err=True)
    if any(finding.configured and finding.state != "ok" for finding in findings):
        raise click.exceptions.Exit(1)


async def _examine(config_path: str | None, names: Sequence[str]) -> list[Finding]:
    from penstock.cli.render import warn
    from penstock.client import Client

    async with Client(config=config_path) as client:
        warn(client.settings.warnings)
        configs = client.settings.providers
        chosen = dict.fromkeys(client.resolve(name)[0] for name in names)
        asking = list(chosen or sorted(configs))
        for name in asking:  # so that loading the code of one is not in the time of another
            with suppress(PenstockError):  # told when it is asked
                client.provider(name)
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(_finding(client, name, configs.get(name))) for name in asking
            ]
        findings = [task.result() for task in asked]
    told = {finding.provider for finding in findings}
    closed = () if names else (name for name in CLOSED if name not in told)
    return findings + [_closed(name, configured=False) for name in closed]


async def _finding(client: Client, name: str, config: ProviderConfig | None) -> Finding:
    if name in CLOSED and _names_closed(name, config):
        return _closed(name, configured=True)
    from penstock.cli.proofs import prove

    started = time.perf_counter()
    try:
        async with asyncio.timeout(LONGEST):
            proof = await prove(client, name, config)
    except PenstockError as error:
        return Finding(provider=name, state="failed", kind=error.kind, message=_reason(error))
    except TimeoutError:
        message = f"no answer within {LONGEST:g} s"
        return Finding(provider=name, state="failed", kind="timeout", message=message)
    return Finding(
        provider=name,
        state="ok",
        dialect=_dialect(client, name, config),
        login=_login(client, name, config),
        models=proof.models,
        more=proof.more,
        milliseconds=round((time.perf_counter() - started) * 1000),
    )


def _names_closed(name: str, config: ProviderConfig | None) -> bool:
    if config is None or config.base_url is None:
        return True
    host = urlsplit(config.base_url).hostname or ""
    gone = CLOSED[name][0]
    return host == gone or host.endswith(f".{gone}")


def _closed(name: str, *, configured: bool) -> Finding:
    what = CLOSED[name][1]
    message = f"{what}; for a server of your own set base_url in [providers.{name}]"
    return Finding(provider=name, state="closed", configured=configured, message=message)


def _reason(error: PenstockError) -> str:
    """The error's sentence without the provider's name, which stands before it."""
    return str(error).removeprefix(f"{error.provider}: ")


def _dialect(client: Client, name: str, config: ProviderConfig | None) -> str | None:
    """The dialect that is known after the question; None where several are still possible."""
    if config is not None and config.dialect:
        return config.dialect
    base = config.base_url if config is not None else None
    memory = client.session.memory
    for fact in ("dialect", "list"):
        for key, learned in memory.items():
            if key[:2] == (name, fact) and (base is None or base in key):
                return str(learned)
    entry = client.registry.entries.get(name) or client.registry.entries["openai_compatible"]
    if entry.name == "openassistant":  # the other one is remembered when it is found
        return entry.dialects[0]
    return entry.dialects[0] if len(entry.dialects) == 1 else None


def _login(client: Client, name: str, config: ProviderConfig | None) -> str:
    entry = client.registry.entries.get(name)
    site = entry is not None and entry.site_session  # its options may hold a credential, too
    if config is None or not (config.api_key or config.cookies or (site and config.options)):
        return "none"
    return "accepted" if name in LISTS_PROVE_LOGIN else "sent"


_LOGINS = {"accepted": "logged in", "sent": "credential not refused", "none": "no credential"}


def _line(finding: Finding) -> str:
    """One line that a narrow terminal may fold: name, state, facts."""
    facts = [finding.message]
    if finding.state == "ok":
        count = len(finding.models)
        facts = [
            finding.dialect or "dialect unknown before an answer",
            _LOGINS[finding.login or "none"],
            f"{count} model{'' if count == 1 else 's'}{' and more' if finding.more else ''}",
            f"{finding.milliseconds} ms",
        ]
    return f"{finding.provider}: {finding.state}, {', '.join(facts)}"
