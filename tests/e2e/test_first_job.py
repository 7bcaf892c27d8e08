"""The first job of a user: the example is applied, watched, waited for, and its adapter used."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.binaries import binary
from tests.cluster.waiting import until
from tests.e2e.installation import REPOSITORY
from tests.e2e.jobs import Jobs
from tests.e2e.results import generate

EXAMPLE = REPOSITORY / "examples" / "01-lora-sft" / "job.yaml"
COLUMNS = ["NAME", "PHASE", "PROGRESS", "LOSS", "ETA", "RESTARTS", "AGE"]
RUNNING = r"^{name}\s+Running\s+\d+% \(\d+/\d+\)\s+\d+\.\d+\s+\d+[smh]\S*\s+0\s+\S+$"


@contextmanager
def watching(jobs: Jobs, shown: Path) -> Iterator[None]:
    """`kubectl get ftj -w` into a file for the length of the block."""
    kubectl = [str(binary("kubectl", jobs.cluster.kubernetes)), f"--kubeconfig={jobs.cluster.kubeconfig}"]
    with (
        shown.open("w") as output,
        subprocess.Popen([*kubectl, "get", "ftj", "-n", jobs.namespace, "-w"], stdout=output) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def test_the_example_is_tuned_and_its_adapter_writes(jobs: Jobs, tmp_path: Path) -> None:
    example = yaml.safe_load(EXAMPLE.read_text())
    name, shown = example["metadata"]["name"], tmp_path / "watch.txt"
    jobs.kubectl("apply", "-f", str(EXAMPLE))
    with watching(jobs, shown):
        jobs.finished(name)
        jobs.kubectl("wait", f"ftj/{name}", "--for=condition=Succeeded", "--timeout=10s")
        until(lambda: re.search(rf"^{name}\s+Succeeded", shown.read_text(), re.M), "the last line of the watch")

    table = shown.read_text()
    assert table.splitlines()[0].split() == COLUMNS
    assert re.search(RUNNING.format(name=name), table, re.M), f"no line has all columns filled:\n{table}"

    job = jobs.get(name)
    assert job["status"]["output"]["adapter"]
    base = jobs.cluster.claim_directory("models", jobs.namespace) / example["spec"]["model"]["claim"]["path"]
    before, after = generate(base, jobs.run_directory(job) / "output", "def add(a, b):")
    assert after
    assert after != before
