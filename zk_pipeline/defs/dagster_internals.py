"""Dagster's private names, imported in this module alone, each with the reason why no public name does.

An upgrade of Dagster that moves one of them fails here. `zk_pipeline_tests/defs/test_dagster_internals.py` lists them.
"""

# ruff: noqa: PLC0414 (`as` marks a name as exported)

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from multiprocessing.context import BaseContext
from types import MappingProxyType
from typing import Any

# A configurable class of an instance (run coordinator, run launcher) states the schema of its configuration. The
# documentation of custom instance classes uses these two, but `dagster` does not export them.
from dagster._config import UserConfigSchema as UserConfigSchema

# `runs.submit` creates a run that a daemon starts in another process, as the UI does, without starting a code server.
from dagster._core.code_pointer import ModuleCodePointer as ModuleCodePointer

# Data versions and provenance of a materialization, which Dagster writes itself only for the outputs of steps.
from dagster._core.definitions.data_version import _OLD_DATA_VERSION_TAG as _OLD_DATA_VERSION_TAG
from dagster._core.definitions.data_version import CODE_VERSION_TAG as CODE_VERSION_TAG
from dagster._core.definitions.data_version import DEFAULT_DATA_VERSION as DEFAULT_DATA_VERSION
from dagster._core.definitions.data_version import (
    extract_data_version_from_entry as extract_data_version_from_entry,
)
from dagster._core.definitions.data_version import get_input_data_version_tag as get_input_data_version_tag
from dagster._core.definitions.data_version import get_input_event_pointer_tag as get_input_event_pointer_tag

# Metadata of an output without a materialization: `step_output` starts the next step after a step that has logged one
# materialization per partition itself. Dagster marks the outputs of observations so.
from dagster._core.definitions.source_asset import (
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION as SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
)

# `crm_sync` and `daily_attendance` plan partitions outside the range of their run's tags: due work dates may have gaps,
# and punches of other dates arrive during a long run.
from dagster._core.events import AssetMaterializationPlannedData as AssetMaterializationPlannedData

# The run id of events without a run (check evaluations by sensors, freshness changes), which `check_retention` deletes.
from dagster._core.instance import RUNLESS_RUN_ID as RUNLESS_RUN_ID

# Result of `WorkerLauncher.check_run_worker_health` for run monitoring: whether the worker of a run is alive.
from dagster._core.launcher import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher import WorkerStatus as WorkerStatus

# The origin that `runs.submit` gives a run (see ModuleCodePointer): code location, repository and job.
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT as DEFAULT_DAGSTER_ENTRY_POINT
from dagster._core.origin import JobPythonOrigin as JobPythonOrigin
from dagster._core.origin import RepositoryPythonOrigin as RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin as RegisteredCodeLocationOrigin
from dagster._core.remote_origin import RemoteJobOrigin as RemoteJobOrigin
from dagster._core.remote_origin import RemoteRepositoryOrigin as RemoteRepositoryOrigin

# `instance.get_ticks` filters by this enum: alerts on failing schedules and sensors.
from dagster._core.scheduler.instigation import TickStatus as TickStatus

# A check's last complete evaluation and its status in `event_log_storage.get_asset_check_summary_records`.
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord as AssetCheckExecutionRecord,
)
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus as AssetCheckExecutionRecordStatus,
)

# Dagster has no call that deletes check evaluations: `check_retention` deletes rows of these tables by SQL.
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as AssetCheckExecutionsTable
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage as SqlEventLogStorage
from dagster._core.storage.sqlalchemy_compat import db_select as db_select

# Names of tags that Dagster itself writes and reads: the partitions of a run, its backfill, and whether the daemon
# retries it.
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as ASSET_PARTITION_RANGE_END_TAG
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as ASSET_PARTITION_RANGE_START_TAG
from dagster._core.storage.tags import BACKFILL_ID_TAG as BACKFILL_ID_TAG
from dagster._core.storage.tags import PARTITION_NAME_TAG as PARTITION_NAME_TAG
from dagster._core.storage.tags import SCHEDULE_NAME_TAG as SCHEDULE_NAME_TAG
from dagster._core.storage.tags import SENSOR_NAME_TAG as SENSOR_NAME_TAG
from dagster._core.storage.tags import WILL_RETRY_TAG as WILL_RETRY_TAG

# The second of the two names of a configurable class (see UserConfigSchema).
from dagster._serdes import ConfigurableClassData as ConfigurableClassData

# A Celery worker's run process handles SIGTERM as Dagster's own run workers do, so that a canceled run records it.
from dagster._utils.interrupts import setup_interrupt_handlers as setup_interrupt_handlers


def run_code_server(arguments: Sequence[str], run_processes: Callable[[], BaseContext]) -> None:
    """Run the command `dagster api grpc`, which starts the processes of runs with the context that `run_processes`
    returns. Called after all imports and before any thread starts. By itself Dagster uses `spawn`, and has no setting.
    """
    from dagster._cli.api import grpc_command  # noqa: PLC0415 (slow to import)
    from dagster._grpc import server  # noqa: PLC0415

    keep_storage_engines()
    context: Any = run_processes()

    class ApiServer(server.DagsterApiServer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._mp_ctx = context

    server.DagsterApiServer = ApiServer  # type: ignore[misc]
    grpc_command.main(list(arguments))


def run_daemon(arguments: Sequence[str]) -> None:
    """Run the command `dagster-daemon`."""
    from dagster._daemon.cli import cli  # noqa: PLC0415 (slow to import)

    watch_code_server_rarely()
    keep_storage_engines()
    cli.main(list(arguments), obj={})


def wait_for_ticks() -> None:
    """Let the daemon at its end wait for ticks before it forgets the code locations, without which a tick that has just
    begun fails. Dagster does both in the opposite order.
    """
    from dagster._daemon import controller  # noqa: PLC0415 (slow to import)

    class Controller(controller.DagsterDaemonController):
        def __exit__(self, *failure: Any) -> None:
            super().__exit__(*failure)
            for daemon in self.daemons:
                daemon.__exit__(*failure)  # type: ignore[no-untyped-call]

    controller.DagsterDaemonController = Controller  # type: ignore[misc]


def import_commands() -> None:
    """Import what `run_code_server` and `run_daemon` use, for processes that are forked from this one."""
    from dagster._cli.api import grpc_command  # noqa: F401, PLC0415 (slow to import)
    from dagster._daemon.cli import cli  # noqa: F401, PLC0415
    from dagster._grpc import server  # noqa: F401, PLC0415


def watch_code_server_rarely() -> None:
    """Ask the code server every 10 s for its identity, to notice that it was replaced, instead of every second. Dagster
    has no setting.
    """
    from dagster._grpc import server_watcher  # noqa: PLC0415 (slow to import)

    assert server_watcher.WATCH_INTERVAL
    server_watcher.WATCH_INTERVAL = 10


def keep_storage_engines() -> None:
    """Let Dagster's SQLite storage build the same things once per process. By itself it builds an engine of SQLAlchemy
    for each statement, half of the CPU time of an idle daemon, and reads fifty migration scripts each time that it is
    opened, for every tick and run (32 of 39 ms of CPU).
    """
    from dagster._core.storage import sql  # noqa: PLC0415 (slow to import)
    from dagster._core.storage.event_log.sqlite import sqlite_event_log  # noqa: PLC0415
    from dagster._core.storage.runs.sqlite import sqlite_run_storage  # noqa: PLC0415
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage  # noqa: PLC0415

    storage: Any = sql
    if isinstance(storage.ScriptDirectory, _Kept):
        return
    storage.ScriptDirectory = _Kept(storage.ScriptDirectory)
    create: Any = _once(storage.create_engine)
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = create  # type: ignore[attr-defined]


class _Kept:
    """In the place of Alembic's ScriptDirectory. Dagster reads each configuration, the key, once."""

    def __init__(self, scripts: Any) -> None:
        self.from_config = lru_cache(maxsize=3)(scripts.from_config)


def _once(create_engine: Any) -> Any:
    """`create_engine` for engines that keep no connection (NullPool), which threads and forked processes may share."""

    @lru_cache(maxsize=32)  # each run has a file
    def kept(address: str, poolclass: Any, options: tuple[tuple[str, Any], ...]) -> Any:
        return create_engine(address, poolclass=poolclass, connect_args=dict(options))

    def create(address: str, *, poolclass: Any, connect_args: Mapping[str, Any] = MappingProxyType({})) -> Any:
        assert poolclass.__name__ == "NullPool"
        return kept(address, poolclass, tuple(connect_args.items()))

    return create
