"""The protocols whose recorded cases can be replayed: one module each."""

from __future__ import annotations

from penstock.testing.replay.case import Case
from penstock.testing.replay.plan import CaseProtocol
from penstock.testing.replay.protocols.allenai import AllenAI
from penstock.testing.replay.protocols.chatui import ChatUI
from penstock.testing.replay.protocols.h2o import H2O
from penstock.testing.replay.protocols.openai_compatible import OpenAICompatible
from penstock.testing.replay.protocols.openassistant import OpenAssistant
from penstock.testing.replay.protocols.replicate import Cog, Replicate
from penstock.testing.replay.protocols.tgi import Tgi

_PROTOCOLS: dict[str, CaseProtocol] = {
    protocol.provider: protocol
    for protocol in (
        AllenAI(),
        OpenAssistant(),
        H2O(),
        Tgi(),
        ChatUI(),
        Replicate(),
        Cog(),
        OpenAICompatible(),
    )
}


def protocol_of(case: Case) -> CaseProtocol | None:
    """The protocol of a case; None where this kit has none of that name."""
    name = case.dialect if case.provider == "replicate" and case.dialect else case.provider
    return _PROTOCOLS.get(name)
