"""Tries what the test cluster says when it cannot start, and that its parts end with it; starts no cluster."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster import binaries
from tests.cluster.binaries import binary
from tests.cluster.errors import ComponentError, MissingToolError
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import until


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with an empty cache and neither Go nor Docker nor envtest."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(binaries, "find_go", lambda: None)
    monkeypatch.setattr(binaries, "docker_engine", lambda: False)
    return tmp_path


def test_a_machine_without_go_is_told_in_one_line_what_to_install(bare_machine: Path) -> None:
    with pytest.raises(MissingToolError, match=r"kube-apiserver .* is missing: install Go") as raised:
        binary("kube-apiserver")
    assert "\n" not in str(raised.value)


def test_assets_of_envtest_are_taken_before_anything_is_built(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_machine / "etcd").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(bare_machine))
    assert binary("etcd") == bare_machine / "etcd"


def test_incomplete_assets_of_envtest_are_not_mixed_with_others(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(bare_machine))
    with pytest.raises(MissingToolError, match="holds no kubectl: run `setup-envtest"):
        binary("kubectl")


def test_a_component_that_dies_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such flag: --colour')"]
    process = Process("painter", command, tmp_path / "log", ready=lambda: False)
    with pytest.raises(ComponentError, match=r"painter died \(1\)(.|\n)*no such flag: --colour"):
        process.start()


def test_a_component_ends_with_the_process_that_started_it_however_that_ended(tmp_path: Path) -> None:
    starter = (
        "import sys\nfrom pathlib import Path\nfrom tests.cluster.process import Process\n"
        f"process = Process('sleeper', ['sleep', '600'], Path({str(tmp_path / 'log')!r}), ready=lambda: True)\n"
        "process.start()\nprint(process.pid, flush=True)\nsys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    running = subprocess.Popen([sys.executable, "-c", starter], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stdout
    sleeper = psutil.Process(int(running.stdout.readline()))
    running.send_signal(signal.SIGKILL)
    running.communicate()
    until(lambda: not psutil.pid_exists(sleeper.pid) or sleeper.status() == psutil.STATUS_ZOMBIE, "its end")


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels let nobody listen on a port that is held")
def test_a_port_is_kept_from_everybody_but_our_servers() -> None:
    port = Port()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port.number))
    for _ in range(2):  # also after a kill
        with socket.create_server(("127.0.0.1", port.number)):
            socket.create_connection(("127.0.0.1", port.number)).close()
    port.release()
