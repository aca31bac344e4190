"""Pushing terminals of a generated company."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import cycle

from zk_pipeline.simulator.company.workforce import Workforce
from zk_pipeline.simulator.push.profiles import LEGACY_5, PUSH_2_2, PUSH_2_4, SECURITY_3, TFT_3
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.terminal import utc_now

_PROFILES = (PUSH_2_4, TFT_3, SECURITY_3, PUSH_2_2, LEGACY_5)  # the first three are one of each family


def pushing_terminals(
    workforce: Workforce, receiver_url: str, clock: Callable[[], datetime] = utc_now
) -> list[PushingTerminal]:
    """The terminals with their logs, of all families in turn, as clients of one receiver.

    Raises UsageError for an address that is not `http://HOST:PORT`.
    """
    return [
        PushingTerminal(definition, receiver_url, profile=profile, log=workforce.log_of(definition.name), clock=clock)
        for definition, profile in zip(workforce.terminals, cycle(_PROFILES))
    ]
