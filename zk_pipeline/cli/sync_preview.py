"""`sync --dry-run`: the requests that would be made, printed as they are read, however many there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice

import click

from zk_pipeline.config.settings import Settings
from zk_pipeline.crm.mapping import FieldMapping
from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import batch_key, batch_record, crm_record
from zk_pipeline.operations.sync import crm_endpoint, crm_mapping


def print_requests(settings: Settings, due: Iterable[Delivery]) -> int:
    """One JSON object, the token not in it; `url` is null where none is set. Raises CrmMisconfigured where one of
    them cannot be used, or the mapping.
    """
    mapping = crm_mapping(settings)
    url = json.dumps(None if settings.crm_api_url is None else crm_endpoint(settings).shown)
    scheme = json.dumps(f"{settings.crm_auth_scheme} [hidden]")
    click.echo(f'{{"method": "POST", "url": {url}, "authorization": {scheme}, "requests": [')
    separator = ""
    for request in _requests(iter(due), settings.crm_batch_size, mapping):
        click.echo(separator + json.dumps(request, ensure_ascii=False), nl=False)
        separator = ",\n"
    click.echo("\n]}")
    return 0


def _requests(due: Iterator[Delivery], batch_size: int, mapping: FieldMapping) -> Iterator[dict[str, object]]:
    if batch_size == 1:
        for one in due:
            yield {"idempotency_key": one.idempotency_key, "body": crm_record(one, mapping)}
        return
    while batch := list(islice(due, batch_size)):
        yield {"idempotency_key": batch_key(batch), "body": [batch_record(one, mapping) for one in batch]}
