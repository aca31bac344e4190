"""Worker queues of polls by site, from the rules of POLL_QUEUES. Independent of the task queue's implementation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zk_pipeline.config.poll_queues import EVERY_OTHER_SITE, queue_slug
from zk_pipeline.devices.models import Device

DEFAULT_QUEUE = "dagster"  # for all other runs; also the default queue of dagster-celery


def queue_for_site(site: str, rules: Mapping[str, str]) -> str:
    """Queue whose workers poll the terminals of `site`."""
    rule = rules.get(site, rules.get(EVERY_OTHER_SITE, DEFAULT_QUEUE))
    return rule.replace("{site}", queue_slug(site))


def group_by_queue(devices: Iterable[Device], rules: Mapping[str, str]) -> dict[str, list[Device]]:
    """Devices by queue: queues by name, devices in their order."""
    groups: dict[str, list[Device]] = {}
    for device in devices:
        groups.setdefault(queue_for_site(device.site, rules), []).append(device)
    return dict(sorted(groups.items()))


def order_by_queue(devices: Iterable[Device], rules: Mapping[str, str]) -> list[str]:
    """Device names grouped by queue, polled devices first, so that one run polls all devices of a queue."""
    grouped = group_by_queue(devices, rules).values()
    return [one.name for group in grouped for one in sorted(group, key=lambda device: not device.is_polled)]
