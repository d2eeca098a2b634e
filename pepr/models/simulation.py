"""Simulate one training step without doing it: sizes, operations and peak memory from shapes alone.

The network is built on torch's `meta` device, where a tensor has a shape and no contents, so that a step
takes seconds and hardly any memory whatever the model, the image and the batch. What is counted is what
an eager fp32 step on a GPU would do; attention is counted as its separate matrix products, and a recurrent
layer as the few large kernels that cuDNN makes of it, not as one operation a time step.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pepr.errors import InputError, ModelRefuses
from pepr.models.atlas import Step

BATCH = 37
"""A prime that divides no layer's width: a tensor whose size it divides grows with the batch."""
CLASSES = 2
LARGE_KERNEL = 5
"""Depthwise kernels above this size run on CUDA's generic, slow path in fp32."""
aten = torch.ops.aten
CONVOLUTIONS = (aten.convolution, aten.convolution_backward)
MATRIX_PRODUCTS = (aten.mm, aten.bmm, aten.addmm, aten.baddbmm)
FLOPS_OF = ("conv", "pointwise", "matmul", "large_depthwise")
"""The kinds of operation whose FLOPs are told apart."""


def simulate(network: nn.Module, image_size: int, checkpointing: bool = False) -> Step:
    """Simulate a step of a network on the meta device, in training mode, at `BATCH` images.

    Raises InputError when the architecture cannot take such images, or cannot recompute (checkpointing).
    """
    if checkpointing:
        _recompute(network)
    network.train()
    state = {t.untyped_storage() for t in (*network.parameters(), *network.buffers())}
    images = torch.empty(BATCH, 3, image_size, image_size, device="meta")
    labels = torch.zeros(BATCH, dtype=torch.long, device="meta")
    ledger, saved = _Ledger(state), _Saved(state)
    try:
        with _whole_sequence_lstm(), ledger:
            ledger.hold(images)
            with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
                loss = F.cross_entropy(network(images), labels)
            activation_bytes = saved.bytes_per_image()
            ledger.phase = "backward"
            loss.backward()
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = f"{type(network).__name__} cannot train on {image_size} px images"
        raise ModelRefuses(f"{what}: {told}") from None
    flops, moved, operations = ledger.flops, ledger.bytes_moved, ledger.operations
    return Step(
        fine_tuned_params=sum(p.numel() for p in network.parameters()),
        buffer_bytes=sum(b.numel() * b.element_size() for b in network.buffers()),
        flops=round(flops.total() / BATCH),
        **{f"{kind}_flops": round(flops[kind] / BATCH) for kind in FLOPS_OF},
        activation_bytes=activation_bytes,
        working_bytes_per_image=round(ledger.peak_scaling / BATCH),
        working_bytes_fixed=ledger.peak_fixed,
        bytes_moved=round(moved.total() / BATCH),
        grouped_bytes=round(moved["grouped"] / BATCH),
        matmul_bytes=round(moved["matmul"] / BATCH),
        forward_ops=operations["forward"],
        backward_ops=operations["backward"],
    )


class _Saved:
    """What autograd keeps for the backward pass."""

    def __init__(self, state: set[Any]):
        self.state = state
        self.storages: dict[int, Any] = {}

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage not in self.state:
            self.storages[storage._cdata] = storage
        return tensor

    def bytes_per_image(self) -> int:
        """Bytes of one image; lets go of what was kept, so that its memory can be seen to be freed."""
        total = sum(s.nbytes() for s in self.storages.values() if s.nbytes() % BATCH == 0)
        self.storages.clear()
        return round(total / BATCH)


class _Ledger(TorchDispatchMode):
    """Follows every operation: its FLOPs, the bytes it moves, and which storages are alive after it.

    A view counts as no operation. Storages of parameters and buffers (`state`) are not counted as alive.
    """

    def __init__(self, state: set[Any]):
        super().__init__()
        self.phase = "forward"
        self.flops: Counter[str] = Counter()
        self.bytes_moved: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.scaling = self.fixed = self.peak_scaling = self.peak_fixed = 0
        self.known = weakref.WeakSet(state)

    def hold(self, tensor: torch.Tensor) -> bool:
        """Count a tensor's storage as alive until it is freed; False if it is known already."""
        storage = tensor.untyped_storage()
        if storage in self.known:
            return False
        self.known.add(storage)
        size = storage.nbytes()
        kind = "scaling" if size % BATCH == 0 else "fixed"
        setattr(self, kind, getattr(self, kind) + size)
        weakref.finalize(storage, self._free, kind, size)
        if self.scaling + self.fixed > self.peak_scaling + self.peak_fixed:
            self.peak_scaling, self.peak_fixed = self.scaling, self.fixed
        return True

    def _free(self, kind: str, size: int) -> None:
        setattr(self, kind, getattr(self, kind) - size)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        outputs = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        made = [self.hold(tensor) for tensor in outputs]
        if any(made) or func._schema.is_mutable:
            inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            self._count(func._overloadpacket, args, kwargs, out, inputs + outputs)
        return out

    def _count(self, packet, args, kwargs, out, tensors) -> None:
        kind = _kind(packet, args)
        self.operations[self.phase] += 1
        sizes = (tensor.numel() * tensor.element_size() for tensor in tensors)
        self.bytes_moved[kind] += sum(size for size in sizes if size % BATCH == 0)
        if self.phase == "forward" and packet in flop_registry:
            self.flops[kind] += flop_registry[packet](*args, **kwargs, out_val=out)


def _kind(packet, args) -> str:
    """`conv`, `pointwise`, `grouped`, `depthwise`, `large_depthwise`, `matmul` or `other`."""
    if packet in MATRIX_PRODUCTS:
        return "matmul"
    if packet not in CONVOLUTIONS:
        return "other"
    backward = packet is aten.convolution_backward
    weight, groups = (args[2], args[-2]) if backward else (args[1], args[-1])
    kernel = max(weight.shape[2:])
    if groups == 1:
        return "conv" if kernel > 1 else "pointwise"
    if weight.shape[1] > 1:
        return "grouped"
    return "large_depthwise" if kernel > LARGE_KERNEL else "depthwise"


def _recompute(network: nn.Module) -> None:
    try:
        network.set_grad_checkpointing(True)
    except (AttributeError, AssertionError, RuntimeError):
        raise ModelRefuses(f"{type(network).__name__} has no gradient checkpointing in timm") from None
    # torch 2.4 looks for a module of the device's name here, as `torch.cuda` is one; later ones take this.
    torch.meta = getattr(torch, "meta", torch.device("meta"))


@contextlib.contextmanager
def _whole_sequence_lstm() -> Iterator[None]:
    """Within the block an LSTM is a few operations over the whole sequence, of the same work and shapes."""
    original = nn.LSTM.forward
    nn.LSTM.forward = _lstm_forward
    try:
        yield
    finally:
        nn.LSTM.forward = original


def _lstm_forward(self: nn.LSTM, sequence: torch.Tensor, hx: Any = None) -> tuple[torch.Tensor, None]:
    for layer in range(self.num_layers):
        directions = []
        for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
            weight = {kind: getattr(self, f"weight_{kind}_l{layer}{suffix}") for kind in ("ih", "hh")}
            gates = F.linear(sequence, weight["ih"])
            hidden = gates[..., : self.hidden_size]
            gates = gates + F.linear(hidden, weight["hh"])
            entered, kept, new, shown = gates.chunk(4, dim=-1)
            cell = kept.sigmoid() + entered.sigmoid() * new.tanh()
            directions.append(shown.sigmoid() * cell.tanh())
        sequence = torch.cat(directions, dim=-1)
    return sequence, None


def build(timm_name: str, num_classes: int = CLASSES, **options: Any) -> nn.Module:
    """A timm architecture on the meta device, attention unfused. Raises InputError for an unknown name."""
    import timm

    if not timm.is_model(timm_name):
        import difflib

        close = ", ".join(difflib.get_close_matches(timm_name, timm.list_models(), n=3))
        raise InputError(f"timm knows no model {timm_name!r}" + (f"; did you mean {close}?" if close else ""))
    fused = timm.layers.use_fused_attn()
    timm.layers.set_fused_attn(False)
    try:
        with torch.device("meta"):
            network = timm.create_model(timm_name, num_classes=num_classes, **options)
    finally:
        timm.layers.set_fused_attn(fused)
    return network.to("meta")
