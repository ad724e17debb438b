"""What the programs have in common that drive a foreign client; they run in its environment.

Standard library only: there is nothing else beside the client.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import NamedTuple

from tests.foreign.telling import tell

CHAT = "meta/meta-llama-3-8b-instruct"
VERSIONED = "meta/llama-2-70b-chat"
TEXT = "replicate/hello-world"
FILES = "sandbox/pictures"
DEPLOYMENT = "sandbox/chat"
QUESTION = "naïve café, 日本語 🦜\n two  spaces"
ASKED = {"prompt": QUESTION}
LONG = "word " * 200
NO_VERSION = "0" * 64


class Servers(NamedTuple):
    """Addresses of sandboxes, and a key that is right on them.

    Attributes:
        plain: answers at once.
        slow: takes a minute for an answer to ``LONG``.
        paged: two items on a page.
        poor: its account has no credit.
        busy: refuses the first two creates with 429, and the first GET, too.
    """

    plain: str
    slow: str
    paged: str
    poor: str
    busy: str
    token: str


def run(*tasks: Callable[[Servers], object]) -> None:
    """Run all tasks and print what they found."""
    tell(Servers(**json.loads(sys.argv[1])), tasks)
