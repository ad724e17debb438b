"""Cases made from the sentences and tables of the wire documents, where no recording shows them.

What is expected comes from the document that a case's ``notes`` name, never from what the code
does. ``ALL`` holds them by protocol.
"""

from __future__ import annotations

from tests.testing.constructed import allenai

ALL = {
    "allenai": tuple(allenai.cases()),
}
