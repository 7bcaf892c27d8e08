"""finetune.dev/v1alpha1: the FineTuneJob resource as models. Defaults, limits and rules live here and nowhere else."""

GROUP = "finetune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "FineTuneJob"
PLURAL = "finetunejobs"
