"""`finetune run`: a job on this machine, driven by the operator's own reconciler over local processes."""

ADVICE = "Unusual"
"""The reason of the operator's events that only repeat status.warnings."""
