"""The numbers of the optimisation, by the names that the libraries give them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import NonNegativeInt, PositiveInt, SpecModel

Precision = Literal["Auto", "BF16", "FP16", "FP32"]
Rate = Annotated[float, Field(gt=0, le=1)]


class Hyperparameters(SpecModel):
    """The numbers of the optimisation."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    """How often the data is seen; excludes maxSteps."""
    max_steps: Annotated[PositiveInt, Field(le=100_000_000)] | None = None
    """How many optimizer steps; excludes epochs."""
    learning_rate: Rate | None = None
    """The highest learning rate; by method and tuning type where not written."""
    min_learning_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """The rate at which scheduler cosine_with_min_lr ends."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the steps in which the rate rises."""
    warmup_steps: NonNegativeInt | None = None
    """Steps in which the rate rises."""
    scheduler: (
        Literal[
            "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "constant",
            "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay",
        ]
        | None
    ) = None  # fmt: skip
    """How the rate falls after that."""
    optimizer: (
        Literal[
            "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor",
            "sgd", "lion_8bit",
        ]
        | None
    ) = None  # fmt: skip
    """The optimizer, by the name that transformers gives it."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the mean of gradients."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the mean of squared gradients."""
    adam_epsilon: Annotated[float, Field(gt=0, le=0.1)] | None = None
    """What keeps divisions finite."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    """Decay of the weights."""
    max_grad_norm: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Gradients are scaled down to this norm; 0 leaves them."""
    per_device_batch_size: Annotated[PositiveInt, Field(le=4096)] | None = None
    """Examples on a device at once; a smaller divisor where memory does not allow it."""
    gradient_accumulation_steps: Annotated[PositiveInt, Field(le=65536)] | None = None
    """Batches whose gradients are added before a step."""
    max_sequence_length: Annotated[PositiveInt, Field(ge=8, le=10_000_000)] | None = None
    """Longest example in tokens; never more than the model has."""
    loss: Literal["All", "Completion", "Assistant"] | None = None
    """Which tokens count: all, the completion, or every assistant turn."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of probability that is spread over all tokens."""
    neftune_noise_alpha: Annotated[float, Field(ge=0, le=100)] | None = None
    """Noise on the embeddings (NEFTune)."""
    attention: Literal["Auto", "Flash", "SDPA", "Flex", "Eager"] | None = None
    """Implementation of attention."""
    kernels: Literal["Auto", "None", "Liger"] | None = None
    """Fused kernels."""
    compile: bool | None = None
    """Use torch.compile."""
    packing: bool | None = None
    """Put several examples into one row, kept apart; on where the attention can."""
    gradient_checkpointing: bool | None = None
    """Compute activations again to save memory."""
    data_loader_workers: Annotated[NonNegativeInt, Field(le=128)] | None = None
    """Processes that prepare batches."""
    precision: Precision | None = None
    """Number format of the computation; Auto takes the best that the device has."""
    seed: Annotated[NonNegativeInt, Field(le=4294967295)] | None = None
    """Seed of everything that is drawn."""
