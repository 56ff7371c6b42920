"""Ways to save memory that do not go together, refused by name."""

from diffpref.config.schema import RunConfig
from diffpref.errors import ConfigError


def check_thrift(config: RunConfig) -> None:
    """Check precision of weights, updates in the backward pass and compiling against the rest.

    Raises:
        ConfigError: names the field to change.
    """
    if config.adapter.precision != "fp32":
        _check_precision(config)
    if config.optimizer.in_backward:
        _check_in_backward(config)
    keep = config.model.gradient_checkpointing
    if config.model.compile_blocks and keep in ("keep_matmuls", "keep_convs"):
        what = f"a compiled block does not show what {keep} would keep"
        hint = (
            "set model.gradient_checkpointing: true, false or auto, or model.compile_blocks: false"
        )
        raise ConfigError(what, where="model.gradient_checkpointing", hint=hint)


def _check_precision(config: RunConfig) -> None:
    precision, dtype = config.adapter.precision, config.model.dtype
    if dtype != "bf16":
        what = f"{precision} keeps weights in bfloat16, and the model computes in {dtype}"
        hint = "set model.dtype: bf16, or adapter.precision: fp32"
        raise ConfigError(what, where="adapter.precision", hint=hint)
    if config.adapter.kind == "user":
        what = "a user adapter is small and trains in float32"
        raise ConfigError(what, where="adapter.precision", hint="set adapter.precision: fp32")


def _check_in_backward(config: RunConfig) -> None:
    loop = config.loop
    off = "or optimizer.in_backward: false"
    if loop.micro_batches > 1:
        what = "a weight updated in the backward pass has no gradient to add to"
        raise ConfigError(
            what, where="loop.micro_batches", hint=f"set loop.micro_batches: 1, {off}"
        )
    if loop.rows_per_pass is not None:
        what = "every pass would be a step of its own"
        raise ConfigError(
            what, where="loop.rows_per_pass", hint=f"remove loop.rows_per_pass, {off}"
        )
    if loop.max_grad_norm is not None:
        what = "the gradient's norm is known only after the weights were updated"
        hint = f"set loop.max_grad_norm: null, {off}"
        raise ConfigError(what, where="loop.max_grad_norm", hint=hint)
    if config.model.dtype == "fp16":
        what = "a gradient scaled for float16 is looked at before it is used"
        hint = f"set model.dtype: bf16, {off}"
        raise ConfigError(what, where="model.dtype", hint=hint)
