"""The command `finetune` as a process, in a test's namespace; asserts nothing."""

import os
import subprocess
import sys
from pathlib import Path


class Finetune:
    """The command in the test's namespace, as the person that the kubeconfig names."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig = kubeconfig
        self._namespace = namespace

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        said, complained = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, said, complained)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [Path(sys.executable).with_name("finetune"), *arguments, "-n", self._namespace],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
