"""Notification channels of ALERT_URLS, through Apprise."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from pydantic import SecretStr

from zk_pipeline.config.settings import OWNERS, SEVERITIES, split_alert_urls
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.quality.alerts import NotifyType, Problem


@dataclass(frozen=True)
class Alert:
    """One message: the title names the problem; the body has place, cause and remedy."""

    title: str
    body: str
    notify_type: NotifyType = "warning"


@dataclass(frozen=True)
class Channel:
    """One URL of ALERT_URLS. `name` (position and scheme) may be shown; `routes` are severities and owners."""

    name: str
    routes: frozenset[str]
    url: str = field(repr=False)

    def accepts(self, problem: Problem) -> bool:
        """Whether the channel receives the problem: its severity and owner are among the channel's, if it has any."""
        severities, owners = self.routes & set(SEVERITIES), self.routes & set(OWNERS)
        return (not severities or problem.severity in severities) and (not owners or problem.owner in owners)

    def send(self, alert: Alert) -> None:
        """Send one message. Raises ZkPipelineError, without the URL, on failure; UsageError for an invalid URL."""
        import apprise  # noqa: PLC0415 (half a second that only an alert needs)

        # Apprise logs invalid URLs, which contain secrets.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        sender = apprise.Apprise()
        if not sender.add(self.url):
            raise UsageError(f"ALERT_URLS: number {self.name} is not an Apprise URL")
        if not sender.notify(title=alert.title, body=alert.body, notify_type=apprise.NotifyType(alert.notify_type)):
            raise ZkPipelineError(f"ALERT_URLS: number {self.name} did not accept the message")


def parse_channels(urls: SecretStr | None) -> list[Channel]:
    """The channels of ALERT_URLS, in order."""
    split = split_alert_urls(urls.get_secret_value()) if urls else []
    return [Channel(f"{number} ({_scheme(url)})", routes, url) for number, (routes, url) in enumerate(split, start=1)]


def _scheme(url: str) -> str:
    scheme, found, _ = url.partition("://")
    return scheme if found and scheme.isalnum() else "no address"
