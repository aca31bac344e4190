"""Dagster resources: store, terminals, CRM, alert channels.

Resource configuration, which the UI shows, contains no secrets: `resources` gives each class the settings instead.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import dagster as dg
from pydantic import Field

from zk_pipeline.config.ducklake_address import PREFIX
from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.instance.orphaned_runs import record_process
from zk_pipeline.defs.names import Names
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.channels import Channel, parse_channels
from zk_pipeline.operations.terminal_gateway import terminal_gateway
from zk_pipeline.store.store import Store


class _PipelineResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    pipeline: ClassVar[Settings]  # of a subclass for each pipeline


class StoreResource(_PipelineResource):
    """The store. Every run uses this resource, so its setup records the process of the run: that of a run in one
    process. Other executors set resources up in the process of each step, which ends before its run.
    """

    is_in_process: ClassVar[bool] = False  # the default executor of the code location, see `build_definitions`
    path: str = Field(description="Absolute path of the DuckDB file, or the shared store without its password")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        run = context.run
        if run is None or context.instance is None:
            return
        if self.is_in_process or run.job_name in Names(self.pipeline.key_prefix).jobs:
            record_process(context.instance, run.run_id)

    def open(self) -> Store:
        if self.path.startswith(PREFIX):  # the configured path lacks the password: use the settings
            return Store.at(self.pipeline.store)
        return Store.at(Path(self.path))


class TerminalsResource(_PipelineResource):
    """The terminals, through one gateway with common time limits."""

    timeout: float = Field(description="Seconds for one response (ZKTECO_TIMEOUT)")
    deadline: float = Field(description="Seconds for one poll of one terminal (ZKTECO_POLL_DEADLINE)")

    def gateway(self) -> TerminalGateway:
        limits = {"terminal_timeout": self.timeout, "poll_deadline": self.deadline}
        return terminal_gateway(self.pipeline.model_copy(update=limits))


class CrmResource(_PipelineResource):
    """The CRM. Its address and token are not part of the configuration."""

    concurrency: int = Field(description="Parallel requests (CRM_CONCURRENCY)")
    max_attempts: int = Field(description="Attempts per record and run (CRM_MAX_RETRIES)")
    batch_size: int = Field(description="Records per request (CRM_BATCH_SIZE)")

    def settings(self) -> Settings:
        return self.pipeline.model_copy(
            update={
                "crm_concurrency": self.concurrency,
                "crm_max_retries": self.max_attempts,
                "crm_batch_size": self.batch_size,
            }
        )


class AlertsResource(_PipelineResource):
    """Alert channels: the Apprise URLs of ALERT_URLS, which contain secrets."""

    def channels(self) -> list[Channel]:
        """Channels to notify; empty if ALERT_URLS is not set."""
        return parse_channels(self.pipeline.alert_urls)


_Resource = TypeVar("_Resource", bound=_PipelineResource)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def resources(settings: Settings, *, is_in_process: bool = False) -> dict[str, object]:
    """The resources of a pipeline. Their keys carry its key prefix."""
    if not settings.database_path.is_absolute():
        raise UsageError(f"ZK_PIPELINE_DATABASE: {settings.database_path} is not below an absolute home")
    found: dict[str, object] = {
        "store": _of(settings, StoreResource, is_in_process=is_in_process)(path=str(settings.store)),
        "terminals": _of(settings, TerminalsResource)(
            timeout=settings.terminal_timeout, deadline=settings.poll_deadline
        ),
        "crm": _of(settings, CrmResource)(
            concurrency=settings.crm_concurrency,
            max_attempts=settings.crm_max_retries,
            batch_size=settings.crm_batch_size,
        ),
        "alerts": _of(settings, AlertsResource)(),
    }
    names = Names(settings.key_prefix)
    return {names.unique(key): resource for key, resource in found.items()}


def _of(settings: Settings, kind: type[_Resource], **more: object) -> type[_Resource]:
    """Subclass with the settings of one pipeline; a field with them would be configuration."""
    namespace = {"__module__": kind.__module__, "__doc__": kind.__doc__, "pipeline": settings, **more}
    return types.new_class(kind.__name__, (kind,), exec_body=lambda body: body.update(namespace))


def with_resource_keys(names: Names) -> Callable[[_Function], _Function]:
    """Decorator of a function whose parameters `store`, `terminals`, `crm` and `alerts` are resources: Dagster takes
    the resource keys from the names of the parameters, so with a key prefix it is shown prefixed names.
    """

    def decorate(function: _Function) -> _Function:
        if not names.key_prefix:
            return function
        signature = inspect.signature(function)
        renamed = {
            name: names.unique(name)
            for name, parameter in signature.parameters.items()
            if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, _PipelineResource)
        }
        original = {key: name for name, key in renamed.items()}

        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **{original.get(name, name): value for name, value in kwargs.items()})

        def generate(*args: Any, **kwargs: Any) -> Any:  # Dagster treats generator functions in their own way
            return (yield from call(*args, **kwargs))

        prefixed = functools.wraps(function)(generate if inspect.isgeneratorfunction(function) else call)
        parameters = [one.replace(name=renamed.get(name, name)) for name, one in signature.parameters.items()]
        annotations = {renamed.get(name, name): kind for name, kind in function.__annotations__.items()}
        vars(prefixed).update(__signature__=signature.replace(parameters=parameters))
        prefixed.__annotations__ = annotations
        return prefixed  # type: ignore[return-value]

    return decorate
