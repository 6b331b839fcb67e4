"""Residual dropout (InstructGPT, arXiv 2203.02155, C.1): on what every layer adds to the residual stream, nowhere else.

Which modules return what is added? Their names do not say: some return it together with the stream it was added to,
some lie within one another under names that are used for the whole elsewhere. So it is looked up in what autograd
records: a few tokens are run through the model, and every layer's output is followed back through sums, scalings and
changes of shape or type. It has to end at the layer's input, and otherwise only at what modules of the layer returned:
those drop. A layer that is built otherwise, as with a norm after the sum, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from momus.errors import UserError
from momus.lm.forward import backbone_of, token_logprobs, trees_from_rows
from momus.runtime.sharding import blocks_of

_ROW = (1, 2, 3, 1, 2)
_LINEAR = {"Add", "Mul", "Div", "View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "ToCopy"}
"""What autograd calls operations that dropout may as well come before, if they are sums or have one operand."""


def has_dropout(config: Any) -> bool:
    """Return whether a model was trained with dropout, as its configuration (of transformers) says."""
    rates = {name: value for name, value in config.to_dict().items() if "drop" in name and isinstance(value, float)}
    return any(value > 0 for name, value in rates.items() if not name.startswith(("summary_", "classifier_")))


@contextmanager
def residual_dropout(model: Any, probability: float) -> Iterator[None]:
    """Drop what each layer's attention and feed-forward network add to the residual stream, while training.

    All other dropout of the model is off meanwhile, but for an adapter's.

    Raises:
        UserError: What a layer adds is not to be seen.
    """
    adding = _adding(model) if probability else []

    def drop(module: nn.Module, arguments: Any, output: Any) -> Any:
        first, *rest = output if isinstance(output, tuple) else (output,)
        dropped = F.dropout(first, probability, module.training)
        return (dropped, *rest) if isinstance(output, tuple) else dropped

    hooks = [module.register_forward_hook(drop) for module in adding]
    others = _rates(backbone_of(model))
    try:
        for holder, name, _ in others:
            setattr(holder, name, 0.0)
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for holder, name, before in others:
            setattr(holder, name, before)


def _rates(backbone: nn.Module) -> list[tuple[Any, str, float]]:
    """Return where the model's configured dropout is set: in modules for it, in layers and in settings."""
    modules = [module for path, module in backbone.named_modules() if ".lora_" not in path]
    settings = {id(module.config): module.config for module in modules if hasattr(module, "config")}
    return [
        (holder, name, value)
        for holder in (*modules, *settings.values())
        for name, value in vars(holder).items()
        if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(holder, nn.Dropout)))
    ]


@torch.enable_grad()
def _adding(model: Any) -> list[nn.Module]:
    """Return the modules whose output is added to the residual stream, of all layers."""
    blocks = blocks_of(backbone_of(model))
    inner = {module for block in blocks for module in block.modules() if module is not block}
    stream: Any = None
    returned: dict[Any, nn.Module] = {}
    added: list[nn.Module | None] = []

    def enter(layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        nonlocal stream
        returned.clear()
        entering = (arguments[0] if arguments else named["hidden_states"]).detach().requires_grad_().clone()
        stream = entering.grad_fn
        return ((entering, *arguments[1:]), named) if arguments else ((), {**named, "hidden_states": entering})

    def keep(module: nn.Module, arguments: Any, output: Any) -> None:
        returned[_first(output)] = module  # of modules that return the same the outermost, which ends last

    def leave(layer: nn.Module, arguments: Any, output: Any) -> None:
        if torch.is_grad_enabled():  # else it is a pass that looks whether the model can be run on trees
            added.extend(_added(_first(output), stream, returned))

    hooks: list[Any] = [module.register_forward_hook(keep) for module in inner]
    for layer in (block for block in blocks if block not in inner):
        hooks += [layer.register_forward_pre_hook(enter, with_kwargs=True), layer.register_forward_hook(leave)]
    training = model.training
    model.eval()
    try:
        token_logprobs(model, trees_from_rows([_ROW]))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    known = [module for module in dict.fromkeys(added) if module is not None]
    if not known or None in added:
        raise UserError(f"where dropout belongs in a {model.config.model_type} model is not known: set dropout to 0")
    return known


def _first(output: Any) -> Any:
    """Return what recorded the first tensor of an output, None where there is none."""
    first = output[0] if isinstance(output, tuple) else output
    return first.grad_fn if isinstance(first, Tensor) else None


def _added(output: Any, stream: Any, returned: Mapping[Any, nn.Module]) -> list[nn.Module | None]:
    """Return which modules' outputs were added to the stream; None stands for what is not to be seen."""

    def back(node: Any) -> list[Any]:
        operands = [operand for operand, _ in node.next_functions if operand is not None]
        kind = node.name().removesuffix("Backward0")
        return operands if kind in _LINEAR and (kind == "Add" or len(operands) == 1) else []

    def streams(node: Any) -> bool:
        return node is stream or any(map(streams, back(node)))

    def ends(node: Any) -> list[nn.Module | None]:
        if node is stream:
            return []
        if not streams(node) and node in returned:
            return [returned[node]]
        operands = back(node)
        return [module for operand in operands for module in ends(operand)] if operands else [None]

    return ends(output) if output is not None and streams(output) else [None]
