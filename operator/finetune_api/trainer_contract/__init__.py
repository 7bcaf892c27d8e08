"""What operator and trainer say to each other: configuration, progress, records, exit codes, files on the volume.

Everything here is versioned and lenient: unknown keys are ignored, so that operator and trainer may differ by a
version. Strictness is for what people write (v1alpha1). Neither side may import the other.
"""

from .checkpoint import CheckpointInfo, CheckpointManifest, CheckpointState, ManifestFile, Saves
from .config import (
    CONFIG_VARIABLE,
    GANG_TOKEN_VARIABLE,
    MAXIMUM_CONFIG_BYTES,
    PROGRESS_PORT,
    Adaptation,
    JobIdentity,
    Mounts,
    TrainerConfig,
    World,
)
from .effective import Effective
from .ends import EndKind, ExitCode
from .message import CONTRACT_VERSION, ContractModel
from .progress import MAXIMUM_PROGRESS_BYTES, ProgressReport, Stage
from .record import (
    FIGURES,
    MAXIMUM_TERMINATION_MESSAGE_BYTES,
    TERMINATION_MESSAGE_PATH,
    VOLUME_FULL,
    AttemptRecord,
    Result,
)
from .run import Rewind, RunRecord

__all__ = [
    "CONFIG_VARIABLE",
    "CONTRACT_VERSION",
    "FIGURES",
    "GANG_TOKEN_VARIABLE",
    "MAXIMUM_CONFIG_BYTES",
    "MAXIMUM_PROGRESS_BYTES",
    "MAXIMUM_TERMINATION_MESSAGE_BYTES",
    "PROGRESS_PORT",
    "TERMINATION_MESSAGE_PATH",
    "VOLUME_FULL",
    "Adaptation",
    "AttemptRecord",
    "CheckpointInfo",
    "CheckpointManifest",
    "CheckpointState",
    "ContractModel",
    "Effective",
    "EndKind",
    "ExitCode",
    "JobIdentity",
    "ManifestFile",
    "Mounts",
    "ProgressReport",
    "Result",
    "Rewind",
    "RunRecord",
    "Saves",
    "Stage",
    "TrainerConfig",
    "World",
]
