"""One real cluster for all end-to-end tests, with the operator installed in it; holds no test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from kubernetes import config

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import cluster, restricted
from tests.cluster.images import OPERATOR, TRAINER
from tests.e2e import inputs
from tests.e2e.diagnosis import diagnose
from tests.e2e.in_turns import Turns, play_selected
from tests.e2e.installation import install, replicas
from tests.e2e.jobs import Jobs
from tests.e2e.learning import DIFFERENCES, Expected, Undisturbed
from tests.e2e.manifests import a_job
from tests.e2e.nodes import calm_node, keep_others_away
from tests.e2e.side_by_side import CALM, Lanes, begin_selected, in_order

# The first test of a session waits for the images to be built, which takes minutes on a fresh machine.
TIMEOUT_SECONDS = 2400
NOT_RUN = (
    "enforcement of NetworkPolicies: the cluster's bridge network enforces none; the policies are compared as objects",
    "trainer pods on GPUs: the cluster's nodes have none",
)
__all__ = ["cluster", "restricted"]
_CLUSTER = pytest.StashKey[Cluster]()


def pytest_configure(config: pytest.Config) -> None:
    for mark in ("side_by_side(test, lane)", "beside"):
        config.addinivalue_line("markers", f"{mark}: runs beside others; see tests/e2e/side_by_side.py")
    config.addinivalue_line("markers", "in_turns(test, job, cpu): strikes the cluster; see tests/e2e/in_turns.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.root)
        item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))
    items[:] = [item for item in items if item not in ours] + in_order(ours)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if DIFFERENCES:
        terminalreporter.section("largest difference of a loss from that of the undisturbed run")
    for name, difference in sorted(DIFFERENCES.items()):
        terminalreporter.write_line(f"{name:24} {difference:.1e}")
    terminalreporter.section("not run here")
    for what in NOT_RUN:
        terminalreporter.write_line(what)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failed test's report what a person would look at; later it is gone with the cluster."""
    report = yield
    installation = item.config.stash.get(_CLUSTER, None)
    if report.failed and installation:
        report.sections += diagnose(installation)
    return report


@pytest.fixture(scope="session")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[tuple[Path, Path]]]:
    """The contents of the claims `models` and `datasets`, which are made while the cluster starts."""
    models, datasets = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("datasets")

    def make() -> tuple[Path, Path]:
        inputs.make(models, datasets)
        return models, datasets

    with ThreadPoolExecutor(1) as aside:
        yield aside.submit(make)


@pytest.fixture(scope="session")
def installed(
    claims: object, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Cluster:
    """The cluster with the operator in a pod of it."""
    pytestconfig.stash[_CLUSTER] = cluster
    keep_others_away(cluster)
    install(cluster, tmp_path_factory.mktemp("installation"), operator_image=OPERATOR, trainer_image=TRAINER)
    return cluster


@pytest.fixture(scope="session")
def new_jobs(claims: Future[tuple[Path, Path]], installed: Cluster) -> Iterator[Callable[[str], Jobs]]:
    """Makes namespaces that enforce the restricted Pod Security Standard, each with claims `models` and `datasets`."""
    models, datasets = claims.result()
    with config.new_client_from_config(str(installed.kubeconfig)) as api:

        def make(purpose: str) -> Jobs:
            namespace = f"{purpose}-{uuid.uuid4().hex[:8]}"
            installed.namespace(namespace)
            installed.claim("models", namespace, models)
            installed.claim("datasets", namespace, datasets)
            return Jobs(installed, api, namespace)

        yield make


@pytest.fixture
def jobs(new_jobs: Callable[[str], Jobs]) -> Iterator[Jobs]:
    """The jobs of a fresh namespace, which is deleted afterwards."""
    made = new_jobs("test")
    yield made
    made.cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="session")
def lanes(new_jobs: Callable[[str], Jobs]) -> Iterator[Lanes]:
    """Where tests run side by side."""
    made = Lanes(new_jobs)
    yield made
    made.close()


@pytest.fixture(scope="session")
def undisturbed(lanes: Lanes, new_jobs: Callable[[str], Jobs], installed: Cluster) -> Expected:
    """What the usual job of the tests will have learnt when nothing has happened to it."""

    def run() -> Undisturbed:
        jobs = new_jobs("undisturbed")
        job = jobs.finished(jobs.apply(a_job("undisturbed").placed_on(calm_node(installed))))
        return Undisturbed.of(job, jobs.run_directory(job))

    return lanes.submit(CALM, run)


@pytest.fixture(scope="session")
def begun(lanes: Lanes, undisturbed: Expected, request: pytest.FixtureRequest) -> Lanes:
    """The lanes, with all tests under way that run side by side."""
    begin_selected(request.session.items, lanes, undisturbed)
    return lanes


@pytest.fixture(scope="session")
def played(
    undisturbed: Expected, new_jobs: Callable[[str], Jobs], installed: Cluster, request: pytest.FixtureRequest
) -> Turns:
    """All outages of the cluster, each with how its test has ended; nothing else runs meanwhile."""
    undisturbed.result()
    with replicas(installed, 2):
        return play_selected(request.session.items, new_jobs, undisturbed)
