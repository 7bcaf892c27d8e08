"""Runs the scheduler of scheduler-plugins beside a control plane, from a release that somebody has; plays nothing.

`FINETUNE_SCHEDULER_PLUGINS` names a directory with two files of one release: `kube-scheduler`, the program of its
image, and `crd.yaml`, the PodGroup of manifests/coscheduling. It schedules pods that name it, for whole gangs at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster import releases
from tests.cluster.control_plane import ControlPlane
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import answers

NAME = "scheduler-plugins-scheduler"


def release() -> Path | None:
    """The directory of the release that tests are to use; None when there is none. Raises MissingToolError."""
    whence = "a release's manifests/coscheduling/crd.yaml there and `kube-scheduler` out of its image"
    return releases.release("FINETUNE_SCHEDULER_PLUGINS", ("kube-scheduler", "crd.yaml"), whence)


@contextmanager
def gang_scheduler_beside(plane: ControlPlane, directory: Path) -> Iterator[Process]:
    """Install the PodGroup and run the scheduler until the end of the block."""
    secure = Port()
    plane.kubectl("apply", "--server-side", "-f", str(directory / "crd.yaml"))
    plane.kubectl("wait", "--for=condition=Established", "crd/podgroups.scheduling.x-k8s.io", "--timeout=30s")
    certificate, key = plane.credentials.certificate("apiserver")
    configuration = plane.directory / "gang-scheduler.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(plane)))
    flags = [
        f"--config={configuration}",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
    ]
    process = Process(
        NAME,
        [directory / "kube-scheduler", *flags],
        plane.directory / "logs" / f"{NAME}.log",
        ready=lambda: answers(f"https://127.0.0.1:{secure}/readyz", plane.ca_file),
    )
    try:
        process.start()
        yield process
    finally:
        process.stop()
        secure.release()


def _configuration(plane: ControlPlane) -> dict[str, object]:
    """As the release's, with a name of its own and a shorter patience with a gang that does not fit."""
    plugins = {
        "multiPoint": {"enabled": [{"name": "Coscheduling"}]},
        "queueSort": {"enabled": [{"name": "Coscheduling"}], "disabled": [{"name": "*"}]},
    }
    arguments = [{"name": "Coscheduling", "args": {"permitWaitingTimeSeconds": 2}}]
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(plane.kubeconfig)},
        "profiles": [{"schedulerName": NAME, "plugins": plugins, "pluginConfig": arguments}],
    }
