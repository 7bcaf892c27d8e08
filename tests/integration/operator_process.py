"""Runs the real operator as a process of its own, with the rights that deploy/ gives it; asserts nothing."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.cluster.errors import ComponentError
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.integration.warm_operators import WarmOperators

# As in the operator's image: kopf loads the official client where it finds one, which doubles the time of a start.
_MAIN = "import sys; sys.modules['kubernetes'] = None; from finetune_operator.__main__ import main; main()"


class OperatorProcess(Process):
    """The operator in one namespace. `start`, `kill` and `stop` are those of Process."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        log: Path,
        settings: Mapping[str, str] | None = None,
        warm: WarmOperators | None = None,
    ) -> None:
        """Forked from `warm` if that is given, else a program of its own."""
        self.port = Port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "FINETUNE_KUBECONFIG": str(kubeconfig),
            "FINETUNE_NAMESPACES": json.dumps([namespace]),
            "FINETUNE_LEASE_NAME": f"test-{namespace}",
            "FINETUNE_IDENTITY": "test",
            "FINETUNE_PROBE_HOST": "127.0.0.1",
            "FINETUNE_PROBE_PORT": str(self.port),
            "FINETUNE_TRAINER_IMAGE": "registry.example.com/trainer:1",
            "FINETUNE_PROGRESS": "Direct",
            **(settings or {}),
        }
        self._warm = warm
        super().__init__(
            "operator",
            [sys.executable, "-c", _MAIN],
            log,
            ready=self._answers,
            environment=environment,
        )

    def launch(self) -> None:
        if self._warm is None:
            super().launch()
        elif self.alive:
            raise ComponentError("the operator runs already")
        else:
            self._running = self._warm.fork(self._environment, self.log)

    def probe(self, path: str) -> tuple[int, str]:
        """Status and body of one of the operator's own pages."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def _answers(self) -> bool:
        try:
            return self.probe("/healthz")[0] == 200
        except OSError:
            return False


StartOperator = Callable[..., OperatorProcess]
