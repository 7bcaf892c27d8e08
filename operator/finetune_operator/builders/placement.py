"""Where the pods of an attempt run, and who places them: the user's overlay and the little that is added to it."""

from __future__ import annotations

from typing import Any

from .. import names
from .attempt import Attempt

NODE_LOSS_SECONDS = 60
_NODE_TROUBLES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def build(attempt: Attempt) -> dict[str, Any]:
    """The fields of a pod's spec that a scheduler reads. Groups of Volcano and scheduler-plugins are labels and
    annotations of the overlay, and so on the pods already."""
    document = attempt.overlay.dump()
    chosen = ("schedulerName", "priorityClassName", "nodeSelector")
    spec: dict[str, Any] = {field: document[field] for field in chosen if field in document}
    spread = _spread(attempt, document)
    if spread:
        spec["topologySpreadConstraints"] = spread
    affinity = _affinity(document.get("affinity"), attempt.avoid_node)
    return {**spec, "affinity": affinity} if affinity else spec


def tolerations(attempt: Attempt) -> list[dict[str, Any]]:
    """The user's, and a minute for nodes in trouble; a job that says its own for those keeps them."""
    own = [toleration.dump() for toleration in attempt.overlay.tolerations or ()]
    said = {toleration.get("key") for toleration in own}
    ours = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOSS_SECONDS}
        for key in _NODE_TROUBLES
        if key not in said
    ]
    return [*own, *ours]


def _spread(attempt: Attempt, overlay: dict[str, Any]) -> list[dict[str, Any]]:
    """The user's constraints, which count the attempt's pods where they name none; else one pod a node if possible.

    Two pods of a gang on one node share its network and its devices. A user's affinity says where pods go already.
    """
    own: list[dict[str, Any]] = overlay.get("topologySpreadConstraints", [])
    if own:
        return [{"labelSelector": _own_pods(attempt), **constraint} for constraint in own]
    if attempt.nodes == 1 or "affinity" in overlay:
        return []
    apart = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    return [{**apart, "labelSelector": _own_pods(attempt)}]


def _own_pods(attempt: Attempt) -> dict[str, Any]:
    """Selects the pods of this attempt: those of the one before may still be there, for their logs."""
    return {"matchLabels": {names.JOB_LABEL: attempt.name, names.ATTEMPT_LABEL: str(attempt.number)}}


def _affinity(own: dict[str, Any] | None, avoid: str | None) -> dict[str, Any] | None:
    """The user's affinity, without the node whose devices could not be used."""
    if avoid is None:
        return own
    field = {"key": "metadata.name", "operator": "NotIn", "values": [avoid]}
    node = dict((own or {}).get("nodeAffinity") or {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    # Terms are alternatives: each of them has to leave the node out.
    terms = (node.get(required) or {}).get("nodeSelectorTerms") or [{}]
    node[required] = {
        "nodeSelectorTerms": [{**term, "matchFields": [*term.get("matchFields", ()), field]} for term in terms]
    }
    return {**(own or {}), "nodeAffinity": node}
