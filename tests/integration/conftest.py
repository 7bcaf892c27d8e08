"""Gives the integration tests their control plane and the operator's process; holds no test."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from finetune_api.trainer_contract import PROGRESS_PORT
from tests.builders.manifests import claims
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fixtures import api, apply, control_plane, namespace, pods
from tests.integration.finetune import Finetune
from tests.integration.jobs import Jobs
from tests.integration.operator_process import OperatorProcess, StartOperator
from tests.integration.warm_operators import WarmOperators

__all__ = ["api", "apply", "control_plane", "namespace", "pods"]

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="session")
def operator_account(control_plane: ControlPlane) -> Path:
    """A kubeconfig with the operator's rights and no others."""
    for name in ("namespace.yaml", "rbac.yaml"):
        control_plane.kubectl("apply", "-f", str(DEPLOY / name))
    return control_plane.kubeconfig_for("finetune-system", "finetune-operator")


@pytest.fixture(scope="session")
def warm_operators() -> Iterator[WarmOperators]:
    """Forks operators whose libraries are loaded."""
    with WarmOperators.ready() as warm:
        yield warm


@pytest.fixture
def start_operator(
    operator_account: Path, namespace: str, tmp_path: Path, warm_operators: WarmOperators | None
) -> Iterator[StartOperator]:
    """Starts operators of the test's namespace: start_operator(settings={...}, kubeconfig=...)."""
    started: list[OperatorProcess] = []

    def start(settings: dict[str, str] | None = None, kubeconfig: Path | None = None) -> OperatorProcess:
        log = tmp_path / f"operator-{len(started)}.log"
        made = OperatorProcess(kubeconfig or operator_account, namespace, log, settings, warm_operators)
        started.append(made)
        made.start()
        return made

    yield start
    for process in started:
        process.stop()
        print(f"--- {process.log}\n{process.tail()}")  # shown where the test failed


@pytest.fixture
def operator(start_operator: StartOperator) -> OperatorProcess:
    """The operator, running in the test's namespace."""
    return start_operator()


@pytest.fixture
def jobs(api: client.ApiClient, namespace: str, apply: Callable[..., Any]) -> Jobs:
    """The test's namespace, with the claims `models`, `datasets` and `results`."""
    apply(claims())
    return Jobs(api, namespace, apply)


@pytest.fixture
def finetune(control_plane: ControlPlane, namespace: str) -> Finetune:
    return Finetune(control_plane.kubeconfig, namespace)


@pytest.fixture
def serve_progress() -> Iterator[Callable[[str, dict[str, Any]], list[str]]]:
    """Plays a trainer's /progress at an address; returns the list of paths that were asked for."""
    servers: list[ThreadingHTTPServer] = []

    def serve(address: str, report: dict[str, Any]) -> list[str]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(report).encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer((address, PROGRESS_PORT), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
