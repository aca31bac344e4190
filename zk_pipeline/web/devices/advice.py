"""Problems of terminals for pages: read from the store, with commands as code."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from markupsafe import Markup

from zk_pipeline.http.services import Services
from zk_pipeline.operations.alerting.device_advice import Advice, device_advice
from zk_pipeline.store.queries.terminal_health import terminal_health

_COMMAND = re.compile(r"`([^`]+)`")
_KINDS = {"critical": "bad", "warning": "warn"}


@dataclass(frozen=True)
class ShownAdvice:
    """One problem of a device. `kind`: CSS class; `text` and `remedy` with commands for this device as code."""

    device: str
    kind: str
    severity: str
    title: str
    text: Markup
    remedy: Markup


def advice_of(services: Services) -> dict[str, list[ShownAdvice]]:
    """Current problems of each device that has any."""
    found = device_advice(
        services.store.quality.reach(),
        terminal_health(services.store.database),
        services.settings,
        services.clock(),
    )
    return {device: [_shown(one) for one in advice] for device, advice in found.items()}


def with_commands(text: str, device: str) -> Markup:
    """Text with its commands, which are in backticks, as code; `NAME` in them is the device."""
    parts = _COMMAND.split(text)
    name = shlex.quote(device)
    return Markup().join(
        Markup("<code>{}</code>").format(re.sub(r"\bNAME\b", lambda _: name, part)) if number % 2 else part
        for number, part in enumerate(parts)
    )


def _shown(one: Advice) -> ShownAdvice:
    return ShownAdvice(
        one.device,
        _KINDS[one.severity],
        one.severity,
        one.title,
        with_commands(one.text, one.device),
        with_commands(one.remedy, one.device),
    )
