"""What the trainer's tests share: one tiny model for all, and one thread for each process."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from .examples import make_inputs
from .warm_programs import WarmPopen, load_libraries

# Before torch is loaded: processes that spin on the same cores take ten times as long, and a fork must find no threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def loaded_libraries() -> None:
    """Loads once what every forked rank needs."""
    import datasets  # noqa: F401  # for the forked ranks
    import peft  # noqa: F401  # for the forked ranks
    import torch

    import finetune_trainer.recipes.sft
    import finetune_trainer.trainer  # noqa: F401  # for the forked ranks

    torch.set_num_threads(1)
    # A rank that looks for cycles of garbage would touch, and so copy, all that it shares with this process.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def warm(loaded_libraries: None) -> type[WarmPopen]:
    """A Popen that forks our programs, with the libraries loaded that they need."""
    load_libraries()
    return WarmPopen


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, loaded_libraries: None) -> Path:
    """A directory with `tiny` (weights and tokenizer) and `untrained` (configuration and tokenizer only)."""
    from .tiny_model import make_tiny_model

    directory = tmp_path_factory.mktemp("models")
    make_tiny_model(directory / "tiny")
    make_tiny_model(directory / "untrained", weights=False)
    return directory


@pytest.fixture(scope="session")
def example_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`datasets` and the untrained model of the examples, and `said`: what the program said that made the model."""
    directory = tmp_path_factory.mktemp("example")
    (directory / "said").write_text(make_inputs(directory))
    return directory
