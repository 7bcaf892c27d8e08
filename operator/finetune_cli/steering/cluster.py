"""FineTuneJobs on a cluster, through the official client: read, asked for something, watched; judges nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from finetune_operator.kube.credentials import ACCOUNT

from ..errors import CliError, ClusterError, NoSuchJobError, RefusedJobError
from .wish import Document

_GROUP, _VERSION, _PLURAL = "finetune.dev", "v1alpha1", "finetunejobs"
_MERGE_PATCH = "application/merge-patch+json"
_CALL_SECONDS = (5, 30)
"""To connect, to answer."""
_WATCH_SECONDS = 300
_PATIENCE_SECONDS = 120.0
"""How long whoever waits bears a server that does not answer."""
_EXPIRED = 410
_PASSING = (_EXPIRED, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 30.0
"""Seconds between two tries of a watch that the server refuses for now."""


class NoAnswerError(ClusterError):
    """The server is away or overloaded: asking again may help."""


class ClusterJobs:
    """The jobs of one namespace, with the rights of the person."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._api = client.CustomObjectsApi(api)

    @classmethod
    def find(cls, context: str | None, namespace: str | None, kubeconfig: Path | None = None) -> ClusterJobs:
        """As kubectl finds them: the kubeconfig's current context, or the one that is named; else the pod's own
        account. Raises ClusterError.
        """
        file = str(kubeconfig) if kubeconfig else None
        if file is None and context is None and not _has_kubeconfig() and (ACCOUNT / "token").exists():
            config.load_incluster_config()
            return cls(client.ApiClient(), namespace or (ACCOUNT / "namespace").read_text().strip())
        try:
            contexts, current = config.list_kube_config_contexts(file)
            named = {found["name"]: found for found in contexts}
            if context is not None and context not in named:
                raise ClusterError(f"the kubeconfig has no context {context}: it has {', '.join(sorted(named))}")
            chosen = named[context] if context else current
            settings = client.Configuration()
            settings.retries = urllib3.Retry(total=2, backoff_factor=0.2, redirect=0)
            api = config.new_client_from_config(file, chosen["name"], False, settings)
        except (ConfigException, OSError) as error:
            raise ClusterError(f"no cluster to ask: {_without_prefix(error)}") from None
        return cls(api, namespace or chosen["context"].get("namespace") or "default")

    def get(self, name: str) -> Document:
        """The job now. Raises NoSuchJobError, ClusterError."""
        return self._call(self._api.get_namespaced_custom_object, name=name)

    def ask(self, name: str, spec: dict[str, bool]) -> Document:
        """Writes fields of the spec and returns the job as stored. Raises CliError."""
        return self._call(
            self._api.patch_namespaced_custom_object, name=name, body={"spec": spec},
            field_manager="finetune-cli", _content_type=_MERGE_PATCH,
        )  # fmt: skip

    def names(self) -> list[str]:
        """The jobs of the namespace. Raises ClusterError."""
        found = self._call(self._api.list_namespaced_custom_object, limit=500)
        return [item["metadata"]["name"] for item in found["items"]]

    def follow(self, name: str) -> Iterator[Document]:
        """The job as it is and as it becomes; ends never, and outlasts a restart of the API server.

        Raises NoSuchJobError when the job is deleted, ClusterError.
        """
        lost: float | None = None
        refusals = 0
        while True:
            try:
                yield self.get(name)
                lost = None
            except NoAnswerError:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > _PATIENCE_SECONDS:
                    raise
                time.sleep(1.0)
                continue
            try:
                for event in watch.Watch().stream(
                    self._api.list_namespaced_custom_object, _GROUP, _VERSION, self.namespace, _PLURAL,
                    field_selector=f"metadata.name={name}", timeout_seconds=_WATCH_SECONDS,
                    _request_timeout=(_CALL_SECONDS[0], _WATCH_SECONDS + 10),
                ):  # fmt: skip
                    if event["type"] == "DELETED":
                        raise NoSuchJobError(f"{name} was deleted meanwhile")
                    refusals = 0
                    yield event["object"]
            except ApiException as error:
                if error.status not in _PASSING:
                    raise self._told(name, error) from None
                if error.status != _EXPIRED:
                    time.sleep(min(2.0 ** min(refusals, 10), _LONGEST_PAUSE))
                    refusals += 1
            except urllib3.exceptions.HTTPError:
                continue  # the connection broke: the next get says whether the server is still there

    def _call(self, method: Callable[..., Any], **arguments: Any) -> Document:
        try:
            found: Document = method(
                group=_GROUP, version=_VERSION, namespace=self.namespace, plural=_PLURAL,
                _request_timeout=_CALL_SECONDS, **arguments,
            )  # fmt: skip
        except ApiException as error:
            raise self._told(arguments.get("name"), error) from None
        except urllib3.exceptions.HTTPError as error:
            server = self._api.api_client.configuration.host
            raise NoAnswerError(f"{server} does not answer: {getattr(error, 'reason', None) or error}") from None
        return found

    def _told(self, name: str | None, error: ApiException) -> CliError:
        """What an answer means to the person who asked."""
        try:
            said = json.loads(error.body or "")
        except ValueError:
            said = {}
        message = said.get("message") or f"{error.status} {error.reason}"
        if error.status == 404 and (said.get("details") or {}).get("name") == name:
            return NoSuchJobError(
                f"there is no FineTuneJob {name} in namespace {self.namespace}: give its namespace with -n"
            )
        if error.status == 404:
            return ClusterError(
                "this cluster knows no FineTuneJobs: kubectl apply -f crds/, or choose another --context"
            )
        if error.status in (401, 403):
            return ClusterError(f"the cluster does not allow it: {message}")
        if error.status in (400, 422):
            return RefusedJobError(f"the cluster refuses it: {message}")
        kind = NoAnswerError if error.status in _PASSING else ClusterError
        return kind(f"the cluster could not do it: {message}")


def _has_kubeconfig() -> bool:
    return any(Path(path).expanduser().exists() for path in os.environ.get("KUBECONFIG", "~/.kube/config").split(":"))


def _without_prefix(error: Exception) -> str:
    return str(error).removeprefix("Invalid kube-config file. ")
