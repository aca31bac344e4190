"""Which worker queue polls the terminals of which site: the rules of POLL_QUEUES. What a queue is, the engine decides
that carries runs to workers; nothing here knows one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zk_pipeline.config.poll_queues import EVERY_OTHER_SITE, queue_slug
from zk_pipeline.devices.models import Device

DEFAULT_QUEUE = "dagster"  # where everything else is done; the default queue of dagster-celery, too


def queue_of(site: str, rules: Mapping[str, str]) -> str:
    """The queue whose workers can reach the terminals of `site`."""
    rule = rules.get(site, rules.get(EVERY_OTHER_SITE, DEFAULT_QUEUE))
    return rule.replace("{site}", queue_slug(site))


def by_queue(devices: Iterable[Device], rules: Mapping[str, str]) -> dict[str, list[Device]]:
    """The devices by their queue, queues by name, devices in the order in which they came."""
    found: dict[str, list[Device]] = {}
    for device in devices:
        found.setdefault(queue_of(device.site, rules), []).append(device)
    return dict(sorted(found.items()))


def side_by_side(devices: Iterable[Device], rules: Mapping[str, str]) -> list[str]:
    """Names of the devices so that those of a queue stand together, enabled ones first: one run then polls them all."""
    grouped = by_queue(devices, rules).values()
    return [one.name for group in grouped for one in sorted(group, key=lambda device: not device.enabled)]
