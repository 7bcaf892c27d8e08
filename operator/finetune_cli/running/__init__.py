"""`finetune run`: a job on this machine, driven by the operator's own reconciler over local processes."""
