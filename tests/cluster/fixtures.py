"""The pytest fixtures of the test cluster; import the names into a conftest.py.

    control_plane   session   a running ControlPlane with audit log, the CRDs of crds/ installed
    api             session   an official kubernetes client (ApiClient) of an administrator
    namespace       test      the name of a fresh namespace, deleted afterwards
    apply           test      apply(manifest, namespace=None): server-side apply of a dict, a list of them or YAML
                              text with strict field validation; returns what the server stored (a dict, or a list)
    pods            test      a PodPlayer of that namespace: pods.wait(), .run(pod), .succeed(pod, message) ...

and of the cluster with a node, for tests marked `root`:

    cluster         session   a running Cluster of three nodes with our two images and BASE loaded
    restricted      test      the name of a fresh namespace there that enforces the restricted Pod Security Standard

A wrong manifest makes `apply` raise kubernetes.client.ApiException, whose body holds the server's message.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, dynamic

from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import ControlPlane
from tests.cluster.images import BASE, OPERATOR, TRAINER
from tests.cluster.pods import PodPlayer
from tests.cluster.start import start_cluster
from tests.cluster.waiting import until

CRDS = Path(__file__).parents[2] / "crds"

Manifest = dict[str, Any] | list[dict[str, Any]] | str


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("cluster")
    with ControlPlane.start(directory, audit=True, crds=CRDS if CRDS.exists() else None) as plane:
        yield plane


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane) -> Iterator[client.ApiClient]:
    settings = client.Configuration()
    settings.connection_pool_maxsize = 100  # of threads that share it
    with config.new_client_from_config(str(control_plane.kubeconfig), client_configuration=settings) as made:
        yield made


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    with fresh_namespace(api) as name:
        yield name


@pytest.fixture
def apply(api: client.ApiClient, namespace: str) -> Callable[..., Any]:
    return applier(api, namespace)


@pytest.fixture
def pods(api: client.ApiClient, namespace: str) -> Iterator[PodPlayer]:
    with PodPlayer(api, namespace) as player:
        yield player


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("node")
    flags = ("--node-monitor-grace-period=20s", "--node-monitor-period=2s")  # a lost node is noticed sooner
    images = [BASE, OPERATOR, TRAINER]
    with start_cluster(directory, nodes=3, images=images, controller_manager_flags=flags) as started:
        yield started


@pytest.fixture
def restricted(cluster: Cluster) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def fresh_namespace(api: client.ApiClient) -> Iterator[str]:
    """The name of a new namespace, deleted at the end of the block."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": name}})
    until(lambda: _service_accounts(core, name), "the namespace's default service account")
    try:
        yield name
    finally:
        core.delete_namespace(name)


def applier(api: client.ApiClient, default_namespace: str) -> Callable[..., Any]:
    """Return the function that the fixture `apply` is, for other scopes and clusters."""
    dynamic_client = dynamic.DynamicClient(api)

    def apply(manifest: Manifest, namespace: str | None = None) -> Any:
        if isinstance(manifest, str):
            documents = [document for document in yaml.safe_load_all(manifest) if document]
            manifest = documents[0] if len(documents) == 1 else documents
        if isinstance(manifest, list):
            return [apply(one, namespace) for one in manifest]
        kind = dynamic_client.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        where = manifest["metadata"].get("namespace", namespace or default_namespace)
        path = kind.path(name=manifest["metadata"]["name"], namespace=where if kind.namespaced else None)
        return _server_side_apply(api, path, manifest)

    return apply


def _server_side_apply(api: client.ApiClient, path: str, manifest: dict[str, Any]) -> Any:
    request = api.param_serialize(
        "PATCH",
        path,
        query_params=[("fieldManager", "test"), ("force", True), ("fieldValidation", "Strict")],
        header_params={"Accept": "application/json", "Content-Type": "application/apply-patch+yaml"},
        body=manifest,
        auth_settings=["BearerToken"],
    )
    answer = api.call_api(*request, _request_timeout=30)
    answer.read()
    if not 200 <= answer.status <= 299:
        raise client.ApiException(http_resp=answer, body=answer.data.decode())
    return json.loads(answer.data)


def _service_accounts(core: client.CoreV1Api, namespace: str) -> list[client.V1ServiceAccount]:
    found: list[client.V1ServiceAccount] = core.list_namespaced_service_account(namespace).items
    return found
