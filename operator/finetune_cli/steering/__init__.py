"""`finetune pause`, `resume` and `cancel`: of jobs on a cluster and of runs on this machine."""
