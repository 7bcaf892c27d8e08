"""The HTTP server of node 0: /progress as JSON and /metrics for Prometheus, read from the report that rank 0 leaves.

It runs in the supervisor, so that it answers before torch is loaded and while a rank holds the interpreter lock.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from finetune_api.trainer_contract import MAXIMUM_PROGRESS_BYTES, ContractModel, ProgressReport

logger = logging.getLogger(__name__)

_GAUGES: dict[str, tuple[str, str]] = {
    "step": ("finetune_trainer_step", "Optimizer steps done."),
    "total_steps": ("finetune_trainer_total_steps", "Optimizer steps of the whole job."),
    "epoch": ("finetune_trainer_epoch", "Passes over the data done."),
    "loss": ("finetune_trainer_loss", "Training loss of the last logged steps."),
    "eval_loss": ("finetune_trainer_eval_loss", "Loss on the validation rows."),
    "learning_rate": ("finetune_trainer_learning_rate", "Learning rate."),
    "gradient_norm": ("finetune_trainer_gradient_norm", "Norm of the gradient before clipping."),
    "tokens_per_second": ("finetune_trainer_tokens_per_second", "Tokens trained on per second, padding left out."),
    "remaining_seconds": ("finetune_trainer_remaining_seconds", "Estimated seconds until training ends."),
    "gpu_utilization": ("finetune_trainer_gpu_utilization_ratio", "Share of the time in which the device was busy."),
    "gpu_memory_bytes": ("finetune_trainer_gpu_memory_bytes", "Peak memory allocated on the device of rank 0."),
}
_SAVING: dict[str, tuple[str, str]] = {
    "written": ("finetune_trainer_checkpoint_saves_total", "Checkpoints completed by this run."),
    "failed": ("finetune_trainer_checkpoint_failures_total", "Checkpoints that this run could not write."),
    "bytes": ("finetune_trainer_checkpoint_bytes_total", "Bytes of the checkpoints completed by this run."),
    "seconds": ("finetune_trainer_checkpoint_save_seconds_total", "Seconds from step boundary to complete checkpoint."),
    "stall_seconds": ("finetune_trainer_checkpoint_stall_seconds_total", "Of these, seconds in which training stood."),
}
_NEWEST: dict[str, tuple[str, str]] = {
    "step": ("finetune_trainer_checkpoint_step", "Step of the newest complete checkpoint."),
    "bytes": ("finetune_trainer_checkpoint_bytes", "Size of the newest complete checkpoint."),
    "seconds": ("finetune_trainer_checkpoint_save_seconds", "Seconds until the newest checkpoint was complete."),
}


def serve(host: str, port: int, report: Callable[[], ProgressReport]) -> ThreadingHTTPServer:
    """Starts the server in a thread of its own. Raises OSError where the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/progress":
                self._answer("application/json", progress_json(report()))
            elif self.path == "/metrics":
                self._answer("text/plain; version=0.0.4; charset=utf-8", prometheus_text(report()))
            elif self.path == "/healthz":
                self._answer("text/plain; charset=utf-8", b"ok\n")
            else:
                self.send_error(404)

        def _answer(self, content_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            logger.debug(format, *args)

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="endpoint", daemon=True).start()
    return server


def progress_json(report: ProgressReport) -> bytes:
    """The report, within the limit that a reader accepts: warnings go first."""
    body = json.dumps(report.dump()).encode()
    if len(body) > MAXIMUM_PROGRESS_BYTES:
        body = json.dumps(report.model_copy(update={"warnings": [], "previous": None}).dump()).encode()
    return body


def prometheus_text(report: ProgressReport) -> bytes:
    """The report in Prometheus' text format; what is not known yet is left out."""
    lines = _metrics(report, _GAUGES, "gauge")
    lines += _metrics(report.saves, _SAVING, "counter")
    if report.checkpoint.latest is not None:
        lines += _metrics(report.checkpoint.latest, _NEWEST, "gauge")
    labels = f'stage="{report.stage}",attempt="{report.attempt}",run="{report.run}"'
    lines += [
        "# HELP finetune_trainer_info What this run is and does.",
        "# TYPE finetune_trainer_info gauge",
        f"finetune_trainer_info{{{labels}}} 1",
        "# HELP finetune_trainer_checkpoints Complete checkpoints on the volume.",
        "# TYPE finetune_trainer_checkpoints gauge",
        f"finetune_trainer_checkpoints {report.checkpoint.count}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _metrics(source: ContractModel, described: dict[str, tuple[str, str]], kind: str) -> list[str]:
    lines = []
    for field, (name, description) in described.items():
        value = getattr(source, field)
        if value is not None:
            lines += [f"# HELP {name} {description}", f"# TYPE {name} {kind}", f"{name} {value}"]
    return lines
