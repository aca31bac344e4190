"""What a request works with, handed in when the application is made. Making it opens and starts nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from zk_pipeline.api.attempts import Attempts
from zk_pipeline.api.launching import Actions, RunsInProcesses
from zk_pipeline.api.sessions import Sessions
from zk_pipeline.api.token_book import TokenBook
from zk_pipeline.api.traffic import Traffic
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.settings import Settings
from zk_pipeline.store.store import Store

# A person or a script waits for an answer: what a run may wait for the store is too long here.
STORE_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Services:
    """Shared by all requests. `patience`: seconds that an action's answer waits for its run."""

    settings: Settings
    store: Store
    terminals: TerminalGateway
    actions: Actions
    tokens: TokenBook
    sessions: Sessions
    failed_logins: Attempts
    traffic: Traffic
    patience: float

    @property
    def clock(self) -> Callable[[], datetime]:
        return self.store.clock


@dataclass(frozen=True)
class Parts:
    """Stand-ins for what the settings would give, for tests."""

    actions: Actions | None = None
    monotonic: Callable[[], float] = field(default=time.monotonic)


def make_services(settings: Settings, store: Store, terminals: TerminalGateway, parts: Parts | None = None) -> Services:
    """Services on a store, which is given less patience than runs have."""
    parts = parts or Parts()
    traffic = Traffic()
    hasty = replace(
        store,
        database=replace(
            store.database,
            wait_seconds=min(store.database.wait_seconds, STORE_PATIENCE_SECONDS),
            foreign_wait_seconds=min(store.database.foreign_wait_seconds, STORE_PATIENCE_SECONDS),
            on_release=traffic.note_hold,
        ),
    )
    return Services(
        settings=settings,
        store=hasty,
        terminals=terminals,
        actions=parts.actions or RunsInProcesses(),
        tokens=TokenBook(hasty.tokens, monotonic=parts.monotonic),
        sessions=Sessions(monotonic=parts.monotonic),
        failed_logins=Attempts(monotonic=parts.monotonic),
        traffic=traffic,
        patience=settings.poll_deadline + 30.0,
    )


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Given = Annotated[Services, Depends(services_of)]
