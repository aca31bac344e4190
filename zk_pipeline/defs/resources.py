"""Dagster resources: store, terminals, CRM, alert channels.

Resource configuration contains no secrets: each process reads them from the settings when it needs them.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import Field

from zk_pipeline.config.ducklake_address import PREFIX
from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.defs.instance.orphaned_runs import record_process
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.channels import Channel, parse_channels
from zk_pipeline.operations.terminal_gateway import terminal_gateway
from zk_pipeline.store.store import Store


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The store. Every run uses this resource, so its setup records the process of the run."""

    path: str = Field(description="Absolute path of the DuckDB file, or the shared store without its password")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        if context.run is not None and context.instance is not None:
            record_process(context.instance, context.run.run_id)

    def open(self) -> Store:
        if self.path.startswith(PREFIX):  # the configured path lacks the password: use the settings
            return Store.at(load_settings().store)
        return Store.at(Path(self.path))


class TerminalsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The terminals, through one gateway with common time limits."""

    timeout: float = Field(description="Seconds for one response (ZKTECO_TIMEOUT)")
    deadline: float = Field(description="Seconds for one poll of one terminal (ZKTECO_POLL_DEADLINE)")

    def gateway(self) -> TerminalGateway:
        limits = {"terminal_timeout": self.timeout, "poll_deadline": self.deadline}
        return terminal_gateway(load_settings().model_copy(update=limits))


class CrmResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The CRM. Address and token are read from the settings when a run needs them."""

    concurrency: int = Field(description="Parallel requests (CRM_CONCURRENCY)")
    max_attempts: int = Field(description="Attempts per record and run (CRM_MAX_RETRIES)")
    batch_size: int = Field(description="Records per request (CRM_BATCH_SIZE)")

    def settings(self) -> Settings:
        return load_settings().model_copy(
            update={
                "crm_concurrency": self.concurrency,
                "crm_max_retries": self.max_attempts,
                "crm_batch_size": self.batch_size,
            }
        )


class AlertsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Alert channels: the Apprise URLs of ALERT_URLS, which contain secrets and are read when needed."""

    def channels(self) -> list[Channel]:
        """Channels to notify; empty if ALERT_URLS is not set."""
        return parse_channels(load_settings().alert_urls)


def resources(settings: Settings) -> dict[str, object]:
    if not settings.database_path.is_absolute():
        raise UsageError(f"ZK_PIPELINE_DATABASE: {settings.database_path} is not below an absolute home")
    return {
        "store": StoreResource(path=str(settings.store)),
        "terminals": TerminalsResource(timeout=settings.terminal_timeout, deadline=settings.poll_deadline),
        "crm": CrmResource(
            concurrency=settings.crm_concurrency,
            max_attempts=settings.crm_max_retries,
            batch_size=settings.crm_batch_size,
        ),
        "alerts": AlertsResource(),
    }
