"""Manifests validated by the schemas of Kubernetes, and the Job that Dagster creates for a run. No cluster."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dagster as dg
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from dagster._cli import create_dagster_cli
from dagster._core.instance.ref import InstanceRef
from dagster_postgres import PostgresEventLogStorage
from dagster_webserver.cli import dagster_webserver as webserver_command

from zk_pipeline.cli.main import cli
from zk_pipeline.config.settings import VARIABLES, load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.run_coordinator import SiteQueueRunCoordinator
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.runs.submit import submit
from zk_pipeline.server import dagster_webserver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.deploy.deploy_files import DEPLOY
from zk_pipeline_tests.many_hosts import storage_variables
from zk_pipeline_tests.postgres import Postgres
from zk_pipeline_tests.store.store_fixtures import device

dagster_command = create_dagster_cli()  # type: ignore[no-untyped-call]
HERE = DEPLOY / "kubernetes"
VERSIONS = ("1.29", "1.35")  # an old one that is still about, and the newest whose schemas there are
KUSTOMIZATION = yaml.safe_load((HERE / "kustomization.yaml").read_text())
MANIFESTS = {
    f"{name} {document['kind']} {document['metadata']['name']}": document
    for name in [*KUSTOMIZATION["resources"], "secret.example.yaml"]
    for document in yaml.safe_load_all((HERE / name).read_text())
}
DEPLOYMENTS = [one for one in MANIFESTS.values() if one["kind"] == "Deployment"]
CRON_JOBS = [one for one in MANIFESTS.values() if one["kind"] == "CronJob"]
PODS = {
    **{one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in DEPLOYMENTS},
    **{one["metadata"]["name"]: one["spec"]["jobTemplate"]["spec"]["template"]["spec"] for one in CRON_JOBS},
}
CONTAINERS = [
    (name, container)
    for name, pod in PODS.items()
    for container in (*pod.get("initContainers", ()), *pod["containers"])
]


def generated() -> list[str]:
    return [
        name for one in KUSTOMIZATION["configMapGenerator"] for name in (*one.get("files", ()), *one.get("envs", ()))
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_matches_the_schema(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_the_schemas_refuse_an_invalid_manifest() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(DEPLOYMENTS[0]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_kustomization_names_exactly_the_files() -> None:
    used = {*KUSTOMIZATION["resources"], *generated(), "kustomization.yaml", "secret.example.yaml", "README.md"}
    assert used == {path.name for path in HERE.iterdir()}


def test_every_name_that_a_manifest_refers_to_is_defined() -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in MANIFESTS.values()}
    made |= {("ConfigMap", one["name"]) for one in KUSTOMIZATION["configMapGenerator"]}
    for pod in PODS.values():
        assert ("ServiceAccount", pod["serviceAccountName"]) in made
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] == "zk-pipeline-dagster"
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in made
    for name, container in CONTAINERS:
        sources = [next(iter(source.items())) for source in container["envFrom"]]
        assert {(kind.removesuffix("Ref"), ref["name"]) for kind, ref in sources} == {
            ("configMap", "zk-pipeline-settings"),
            ("secret", "zk-pipeline-secrets"),
        }
        mounts = container["volumeMounts"]
        assert {mount["name"] for mount in mounts} <= {volume["name"] for volume in PODS[name]["volumes"]}
        assert {mount["subPath"] for mount in mounts if "subPath" in mount} <= set(generated())
    (server,) = yaml.safe_load((HERE / "workspace.yaml").read_text())["load_from"]
    assert ("Service", server["grpc_server"]["host"]) in made


def test_every_container_has_no_root_a_read_only_image_probes_and_requests() -> None:
    for pod in PODS.values():
        assert pod["securityContext"]["runAsNonRoot"]
    for name, container in CONTAINERS:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    for one in DEPLOYMENTS:
        (container,) = PODS[one["metadata"]["name"]]["containers"]
        assert "livenessProbe" in container or one["spec"]["replicas"] == 0
    may_start_runs = [name for name, pod in PODS.items() if pod["automountServiceAccountToken"]]
    assert may_start_runs == ["zk-pipeline-daemon", "zk-pipeline-webserver"]


def test_the_settings_contain_no_secret() -> None:
    names = re.findall(r"^([A-Z0-9_]+)=", (HERE / "settings.env").read_text(), re.MULTILINE)
    known = {*VARIABLES, "ZK_PIPELINE_IMAGE", *(f"DAGSTER_POSTGRES_{part}" for part in ("HOST", "PORT", "DB", "USER"))}
    assert set(names) <= known
    assert not {"CRM_API_TOKEN", "ALERT_URLS", "ZK_PIPELINE_DATABASE"}.intersection(names)


def test_the_webserver_checks_host_names_and_answers_its_probes() -> None:
    (container,) = [
        one["spec"]["template"]["spec"]["containers"][0]
        for one in DEPLOYMENTS
        if one["metadata"]["name"].endswith("-webserver")
    ]
    python, option, module, *arguments = container["command"]
    assert (python, option, module) == ("python", "-m", dagster_webserver.__name__)
    there = [str(HERE / Path(one).name) if one.endswith(".yaml") else one for one in arguments]
    webserver_command.make_context(module, there)
    for kind in ("startup", "readiness", "liveness"):
        assert container[f"{kind}Probe"]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    assert "ZK_PIPELINE_UI_URL=https://" in (HERE / "settings.env").read_text()


@pytest.mark.parametrize("command", [one["command"] for _, one in CONTAINERS if one["command"][0] == "zk-pipeline"])
def test_the_command_exists(command: list[str]) -> None:
    _, name, *arguments = command
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    found.make_context(name, arguments)


def test_the_page_of_kubernetes_names_what_the_manifests_have() -> None:
    page = (DEPLOY.parent / "docs" / "kubernetes.md").read_text()
    kinds = {"deployment": "Deployment", "deploy": "Deployment", "cronjob": "CronJob"}
    made = {(one["kind"], one["metadata"]["name"]) for one in MANIFESTS.values()}
    named = {
        (kinds[kind], name) for kind, name in re.findall(r"(deployment|deploy|cronjob)/(zk-pipeline[a-z-]*)", page)
    }
    assert named
    assert named <= made
    labels = set(re.findall(r"app.kubernetes.io/component=([a-z]+)", page))
    assert labels == {"run"}
    assert "app.kubernetes.io/component: run" in (HERE / "dagster.yaml").read_text()


class Cluster:
    """Records created Jobs."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def create_namespaced_job(self, *, body: Any, namespace: str, **_: Any) -> None:
        import kubernetes

        assert namespace == "zk-pipeline"
        self.jobs.append(kubernetes.client.ApiClient().sanitize_for_serialization(body))


@pytest.fixture
def instance(
    home: Path, home_store: Store, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The instance of the shipped file on a local PostgreSQL."""
    for name, value in {
        **storage_variables(postgres),
        "ZK_PIPELINE_IMAGE": "registry.example.com/zk-pipeline:1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POLL_QUEUES", "*=site-{site}")
    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)  # reads files of a pod
    (home / "dagster.yaml").write_text((HERE / "dagster.yaml").read_text())
    home_store.devices.add(device("Gate", site="Izmir"))
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as opened:
        opened.add_dynamic_partitions(Names().device_partitions_name, ["Gate"])
        yield opened


def test_the_init_container_of_the_daemon_migrates_the_database_of_dagster(instance: dg.DagsterInstance) -> None:
    (daemon,) = [one for one in DEPLOYMENTS if one["metadata"]["name"] == "zk-pipeline-daemon"]
    (migrate,) = daemon["spec"]["template"]["spec"]["initContainers"]
    assert migrate["command"] == ["dagster", "instance", "migrate"]
    done = CliRunner().invoke(dagster_command, migrate["command"][1:], env={"DAGSTER_HOME": instance.root_directory})
    assert (done.exit_code, done.exception) == (0, None)
    assert instance.has_asset_key(dg.AssetKey("absent")) is False, "still usable"


def test_dagster_accepts_the_settings_and_creates_a_job_with_equally_few_permissions(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_k8s.launcher import K8sRunLauncher  # half a second of CPU time in each worker

    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(instance.run_coordinator, SiteQueueRunCoordinator)
    launcher, cluster = instance.run_launcher, Cluster()
    assert isinstance(launcher, K8sRunLauncher)
    monkeypatch.setattr(launcher._api_client, "batch_api", cluster)

    job = build_definitions(load_settings()).resolve_job_def(Names().poll)
    run_id = submit(instance, job, str(uuid.uuid4()), tags=range_tags("Gate", "Gate"), config={})
    queued = instance.get_run_by_id(run_id)
    assert queued is not None
    assert queued.tags[QUEUE_TAG] == "site-izmir"
    instance.launch_run(run_id, None)  # type: ignore[arg-type]

    (made,) = cluster.jobs
    kubernetes_validate.validate(made, VERSIONS[-1], strict=True)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["nodeSelector"] == {"zk-pipeline/queue": "site-izmir"}
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("zk-pipeline", False)
    plain = DEPLOYMENTS[0]["spec"]["template"]["spec"]
    assert pod["securityContext"] == plain["securityContext"]
    assert container["securityContext"] == plain["containers"][0]["securityContext"]
    assert container["image"] == "registry.example.com/zk-pipeline:1"
    assert {next(iter(source.values()))["name"] for source in container["envFrom"]} == {
        "zk-pipeline-settings",
        "zk-pipeline-secrets",
    }
    assert {"name": "DAGSTER_HOME", "value": "/var/lib/zk-pipeline"} in container["env"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
        "/var/lib/zk-pipeline",
        "/var/lib/zk-pipeline/dagster.yaml",
        "/tmp",
    }
    assert made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "run"
    text = yaml.safe_dump(made)
    for secret in ("DAGSTER_POSTGRES_PASSWORD: ", "CRM_API_TOKEN: "):
        assert secret not in text
