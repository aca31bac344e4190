"""Health endpoints and metrics, for load balancers and monitoring."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse

from zk_pipeline.api.prometheus import PipelineCollector, metrics_page
from zk_pipeline.api.responses import FAILURES
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.services import Given, Services
from zk_pipeline.store.queries.metrics import DeviceMetrics, read_device_metrics, read_store_metrics

router = APIRouter(tags=["operations"])


_JSON = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


class Alive(BaseModel):
    status: str


class DeviceReadiness(BaseModel):
    device: str
    last_success: datetime | None = Field(description="Last successful poll (instant, UTC)")
    seconds_ago: float | None


class Readiness(BaseModel):
    """`status` is `ready` if all parts respond, else `not ready` with HTTP status 503."""

    status: str
    store: str = Field(description="`ok`, or the class of the error")
    daemon: str = Field(description="`alive`, or the age of its heartbeat, compared by the API itself")
    devices: list[DeviceReadiness] = Field(description="Enabled devices; an old last success does not change `status`")


@router.get("/health/live", response_model=Alive)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health/ready", response_model=Readiness, responses={503: {"model": Readiness}})
def ready(services: Given, response: Response) -> Readiness:
    """The store can be read, and the daemon that runs the schedules is alive."""
    now = services.clock()
    devices, store = _store(services)
    orchestration = services.watch.daemon_status(now)
    is_ready = store == "ok" and orchestration.is_daemon_alive
    response.status_code = 200 if is_ready else 503
    return Readiness(
        status="ready" if is_ready else "not ready",
        store=store,
        daemon=orchestration.daemon_message(),
        devices=[_readiness(one, now) for one in devices],
    )


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={key: _JSON | {"description": FAILURES[key]["description"]} for key in (400, 401, 403, 429, 503)},
)
def metrics(request: Request, services: Given, _: Reader) -> Response:
    """Metrics in the text format of Prometheus, or of OpenMetrics where the Accept header names it."""
    now = services.clock()
    store = read_store_metrics(
        services.store.database,
        first=services.settings.history_start,
        last=services.last_work_date(),
        now=now,
        history=services.store.poll_history,
    )
    collector = PipelineCollector(store, services.watch.daemon_status(now), services.store.lock_statistics(), now)
    body, content_type = metrics_page(request.headers.get("accept", ""), collector, services.requests)
    return Response(body, headers={"Content-Type": content_type})


def _store(services: Services) -> tuple[list[DeviceMetrics], str]:
    try:
        return read_device_metrics(services.store.database, services.store.poll_history), "ok"
    except ZkPipelineError as error:
        return [], type(error).__name__  # the message reveals paths and processes


def _readiness(one: DeviceMetrics, now: datetime) -> DeviceReadiness:
    ago = None if one.last_success is None else round((now - one.last_success).total_seconds(), 1)
    return DeviceReadiness(device=one.device, last_success=one.last_success, seconds_ago=ago)
