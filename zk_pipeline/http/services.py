"""Services that request handlers use. Creating them opens no file and starts no process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.config.settings import Settings
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.http.login_throttle import LoginThrottle
from zk_pipeline.http.request_metrics import RequestMetrics
from zk_pipeline.http.run_workers import Action, ActionResult, Actions, RunWorkerPool
from zk_pipeline.http.sessions import Sessions
from zk_pipeline.http.token_cache import TokenCache
from zk_pipeline.store.engine.read_copy import ReadCopy, current_client
from zk_pipeline.store.store import Store

if TYPE_CHECKING:
    from zk_pipeline.runs.run_status import RunReader

# Shorter than the store timeout of runs: a user or a script waits for the response.
STORE_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Services:
    """Services of one application. `run_timeout`: seconds that the response to an action waits for its run."""

    settings: Settings
    store: Store
    terminals: TerminalGateway
    actions: Actions
    tokens: TokenCache
    sessions: Sessions
    failed_logins: LoginThrottle
    requests: RequestMetrics
    run_timeout: float
    exits: ExitStack = field(default_factory=ExitStack)
    _watches: list[RunReader] = field(default_factory=list)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    @property
    def watch(self) -> RunReader:
        """Reader of Dagster's instance, opened at first use."""
        from zk_pipeline.runs.run_status import open_run_reader  # noqa: PLC0415 (Dagster, slow to import)

        with self._opening:
            if not self._watches:
                self._watches.append(self.exits.enter_context(open_run_reader(self.settings)))
        return self._watches[0]

    def last_work_date(self) -> date:
        """The latest work date that has begun in any time zone."""
        from zk_pipeline.operations.work_dates import last_work_date  # noqa: PLC0415 (pandas, slow to import)

        return last_work_date(self.settings, self.clock())

    def start(self, action: Action) -> Future[ActionResult]:
        """Queue an action, whose results the client of the request reads afterwards. Raises TooManyActions."""
        future = self.actions.submit(action)
        copy, client = self.read_copy, current_client()
        if copy is not None and client is not None:
            future.add_done_callback(lambda _: copy.note_change(client))
        return future

    @property
    def read_copy(self) -> ReadCopy | None:
        return self.store.database.read_copy

    def close(self) -> None:
        if self.read_copy is not None:
            self.read_copy.close()
        self.exits.close()

    @property
    def clock(self) -> Callable[[], datetime]:
        return self.store.clock


@dataclass(frozen=True)
class Parts:
    """Replacements for the default services, for tests."""

    actions: Actions | None = None
    monotonic: Callable[[], float] = field(default=time.monotonic)


def make_services(settings: Settings, store: Store, terminals: TerminalGateway, parts: Parts | None = None) -> Services:
    """Services on a store, with a shorter lock timeout than that of runs."""
    parts = parts or Parts()
    api_store = replace(
        store,
        database=replace(
            store.database,
            wait_seconds=min(store.database.wait_seconds, STORE_TIMEOUT_SECONDS),
            foreign_wait_seconds=min(store.database.foreign_wait_seconds, STORE_TIMEOUT_SECONDS),
            read_copy=None if isinstance(store.database.where, LakeAddress) else ReadCopy(store.database.where),
        ),
    )
    return Services(
        settings=settings,
        store=api_store,
        terminals=terminals,
        actions=parts.actions or RunWorkerPool(),
        tokens=TokenCache(api_store.api_tokens, monotonic=parts.monotonic),
        sessions=Sessions(monotonic=parts.monotonic),
        failed_logins=LoginThrottle(monotonic=parts.monotonic),
        requests=RequestMetrics(),
        run_timeout=settings.poll_deadline + 30.0,
    )


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


async def _given(request: Request) -> Services:
    return services_of(request)  # a dependency that is no coroutine would run in another thread


Given = Annotated[Services, Depends(_given)]
