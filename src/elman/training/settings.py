"""What a training run is asked to do, each choice with its meaning, its unit and its bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

OptimizerName = Literal["adamw", "adam", "nadam", "radam", "adamax", "adagrad", "rmsprop", "sgd"]

Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]


class TrainSettings(BaseModel):
    """The settings of `fit`; unknown names are refused.

    Example:
        >>> TrainSettings(optimizer="sgd", learning_rate=0.5).momentum
        0.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: Positive = Field(default=10, description="times the whole training part is seen, at most")
    batch_size: Positive = Field(default=32, description="rows in a batch, on each process")
    accumulate: Positive = Field(default=1, description="batches whose gradients make one step")
    optimizer: OptimizerName = Field(default="adamw", description="update rule; sgd is plain gradient descent")
    learning_rate: float = Field(default=1e-3, gt=0, description="step size at its highest, after the warm-up")
    weight_decay: float | None = Field(
        default=None, ge=0, description="pull of every weight towards zero; none: 0.01 for adamw, 0 for the others"
    )
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="share of the last update kept; sgd and rmsprop only"
    )
    warmup: float = Field(
        default=0.05, ge=0, le=1, description="share of all steps in which the learning rate rises"
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="how the learning rate falls to zero after the warm-up; constant: it does not",
    )
    clip: float | None = Field(
        default=1.0, gt=0, description="largest norm of a step's gradient; none: not clipped"
    )
    patience: Positive | None = Field(
        default=3, description="epochs without improvement before training stops; none: never"
    )
    watch: str = Field(
        default="macro_f1",
        description="metric that says which epoch was best; of errors, losses and bits the lowest",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="start of every random choice; same seed, same bits")
    precision: Literal["no", "bf16", "fp16"] = Field(
        default="no", description="number format of the forward pass; no: the weights' own, usually 32 bits"
    )
    device: Literal["auto", "cpu"] = Field(default="auto", description="auto: an accelerator if there is one")
    checkpoint_minutes: float = Field(
        default=1.0,
        ge=0,
        description="minutes between checkpoints, what a kill costs at most; 0: one after every step",
    )
    log_steps: Positive = Field(default=50, description="steps between two lines in metrics.jsonl")
    insight_every: Positive | None = Field(
        default=None, description="steps between two looks at gradients through time; none: no looks"
    )
    track: Literal["auto", "tensorboard", "off"] = Field(
        default="auto", description="curves for TensorBoard; auto: if it is installed"
    )
