"""Ways to save memory or time that do not go together, refused by name."""

from diffpref.config.schema import RunConfig
from diffpref.errors import ConfigError


def check_thrift(config: RunConfig) -> None:
    """Check how weights are kept, updated, compiled and replayed against the rest.

    Raises:
        ConfigError: names the field to change.
    """
    if config.adapter.precision != "fp32":
        _check_precision(config)
    if config.optimizer.in_backward:
        _check_in_backward(config)
    if config.model.storage != "dtype":
        _check_storage(config)
    if config.model.cuda_graphs:
        _check_graphs(config)
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


def _check_storage(config: RunConfig) -> None:
    kept = config.model.storage
    if config.adapter.kind != "lora":
        trained = "every weight" if config.adapter.kind == "full" else "what stands on the weights"
        what = f"{kept} keeps frozen weights under a LoRA, and {trained} trains"
        hint = "set adapter.kind: lora, or model.storage: dtype"
        raise ConfigError(what, where="model.storage", hint=hint)
    if config.adapter.dora:
        what = f"a DoRA reads the weights it stands on, and {kept} has bytes in their place"
        hint = "set adapter.dora: false, or model.storage: dtype"
        raise ConfigError(what, where="adapter.dora", hint=hint)


def _check_graphs(config: RunConfig) -> None:
    """Check that shapes and the places of weights stay, and that all a pass reads is handed in."""
    off = "or model.cuda_graphs: false"
    if config.data is not None and config.data.buckets:
        what = "a recorded pass has one shape, and buckets have many"
        raise ConfigError(what, where="data.buckets", hint=f"set data.buckets: false, {off}")
    if config.reference.offload:
        what = "a recorded pass reads weights where they were, and offloading moves them"
        hint = f"set reference.offload: false, {off}"
        raise ConfigError(what, where="reference.offload", hint=hint)
    if config.adapter.kind == "user":
        what = "users are told to the network beside what a recorded pass is given"
        raise ConfigError(what, where="adapter.kind", hint="set model.cuda_graphs: false")
    if config.model.compile_blocks:
        what = "compiled blocks and recorded passes were not tried together"
        hint = f"set model.compile_blocks: false, {off}"
        raise ConfigError(what, where="model.compile_blocks", hint=hint)
