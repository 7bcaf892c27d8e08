"""The first job of a user: the example is applied, watched, waited for, and its adapter used."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.binaries import binary
from tests.cluster.waiting import until
from tests.e2e.installation import REPOSITORY
from tests.e2e.jobs import Jobs
from tests.e2e.learning import Expected
from tests.e2e.results import generate
from tests.e2e.side_by_side import CALM, side_by_side

EXAMPLE = REPOSITORY / "examples" / "01-lora-sft" / "job.yaml"
COLUMNS = ["NAME", "PHASE", "PROGRESS", "LOSS", "ETA", "RESTARTS", "AGE"]
RUNNING = r"^{name}\s+Running\s+\d+% \(\d+/\d+\)\s+\d+\.\d+\s+\d+[smh]\S*\s+0\s+\S+$"


@contextmanager
def watching(jobs: Jobs) -> Iterator[Path]:
    """`kubectl get ftj -w` into a file for the length of the block."""
    kubectl = [str(binary("kubectl", jobs.cluster.kubernetes)), f"--kubeconfig={jobs.cluster.kubeconfig}"]
    with (
        tempfile.NamedTemporaryFile(prefix="watch-") as output,
        subprocess.Popen([*kubectl, "get", "ftj", "-n", jobs.namespace, "-w"], stdout=output) as process,
    ):
        try:
            yield Path(output.name)
        finally:
            process.terminate()


@side_by_side(CALM)
def test_the_example_is_tuned_and_its_adapter_writes(jobs: Jobs, undisturbed: Expected) -> None:
    example = yaml.safe_load(EXAMPLE.read_text())
    name = example["metadata"]["name"]
    jobs.kubectl("apply", "-f", str(EXAMPLE))
    with watching(jobs) as shown:
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
