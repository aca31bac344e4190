"""Sensors and their ticks in an instance, as the daemon records them."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo


def add_sensor(instance: dg.DagsterInstance, location: str, name: str, *, is_running: bool = True) -> InstigatorState:
    """State of a sensor of a code location."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    status = InstigatorStatus.RUNNING if is_running else InstigatorStatus.STOPPED
    origin = RemoteInstigatorOrigin(repository, name)
    state = InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData())
    instance.add_instigator_state(state)
    return state


def add_tick(
    instance: dg.DagsterInstance,
    state: InstigatorState,
    status: TickStatus,
    at: float,
    error: SerializableErrorInfo | None = None,
) -> None:
    """An ended tick of a sensor; `at`: seconds since the epoch."""
    data = TickData(
        state.instigator_origin_id, state.instigator_name, InstigatorType.SENSOR, status, at,
        selector_id=state.selector_id, error=error,
    )  # fmt: skip
    instance.create_tick(data)
