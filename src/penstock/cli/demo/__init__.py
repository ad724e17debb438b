"""``penstock demo``: every back end answers, with no account and no network.

``command`` takes the arguments, ``play`` is the run, ``systems`` the list of back ends, ``script``
what the model behind each of them says, ``recorded`` the exchanges with the real servers, and
``board`` everything that is shown.
"""

from __future__ import annotations

from penstock.cli.demo.command import demo

__all__ = ["demo"]
