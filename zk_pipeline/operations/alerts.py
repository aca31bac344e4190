"""Telling people, through Apprise."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from pydantic import SecretStr

from zk_pipeline.errors import ZkPipelineError


@dataclass(frozen=True)
class Alert:
    """One message: what happened in the title; where, why and what to do in the body."""

    title: str
    body: str


def send_alert(urls: SecretStr, alert: Alert) -> bool:
    """Send to every URL (separated by blanks or commas); False where there is none.

    Raises ZkPipelineError, without the URLs, where one fails; the others were sent to all the same.
    """
    import apprise  # noqa: PLC0415 (half a second that only an alert needs)

    # It writes URLs that it cannot use into its log, and they hold secrets.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)

    # A comma may also be part of a URL (several recipients of one e-mail).
    channels = [url for url in re.split(r"\s+|,(?=\s|$|[\w+.-]+://)", urls.get_secret_value()) if url]
    if not channels:
        return False
    sender = apprise.Apprise()
    unusable = [number for number, url in enumerate(channels, start=1) if not sender.add(url)]
    all_took_it = len(sender) == 0 or sender.notify(title=alert.title, body=alert.body)
    if unusable:
        raise ZkPipelineError(f"ALERT_URLS: number {unusable[0]} of {len(channels)} is not an Apprise URL")
    if not all_took_it:
        raise ZkPipelineError("ALERT_URLS: at least one channel did not take the alert")
    return True
