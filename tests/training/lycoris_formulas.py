"""What a reader of LoRA files adds to a weight: LyCORIS' and ComfyUI's formulas, written from theirs and not from ours.

Sources: LyCORIS 4.1 (modules/locon.py, loha.py, lokr.py: make_module_from_state_dict, get_weight,
apply_weight_decompose) and ComfyUI's weight_adapter/{lora,loha,lokr}.py.
"""

import torch
from torch import Tensor


def changed(weight: Tensor, parts: dict[str, Tensor]) -> Tensor:
    """`weight` (out, in, ...) with one module of a file applied at strength 1, in fp64."""
    base = weight.double()
    parts = {name: value.double() for name, value in parts.items()}
    alpha = float(parts["alpha"])
    if "lora_up.weight" in parts:
        up, down = parts["lora_up.weight"], parts["lora_down.weight"]
        dim = down.shape[0]
        add = torch.mm(up.reshape(up.shape[0], -1), down.reshape(dim, -1)) * (alpha / dim)
    elif "hada_w1_a" in parts:
        dim = parts["hada_w1_b"].shape[0]
        left, right = (parts[f"hada_w{n}_a"] @ parts[f"hada_w{n}_b"] for n in (1, 2))
        add = left * right * (alpha / dim)
    else:
        dim = None
        if (first := parts.get("lokr_w1")) is None:
            first, dim = parts["lokr_w1_a"] @ parts["lokr_w1_b"], parts["lokr_w1_b"].shape[0]
        if (second := parts.get("lokr_w2")) is None:
            second, dim = parts["lokr_w2_a"] @ parts["lokr_w2_b"], parts["lokr_w2_b"].shape[0]
        while first.dim() < second.dim():
            first = first.unsqueeze(-1)
        add = torch.kron(first, second) * (1.0 if dim is None else alpha / dim)
    merged = base + add.reshape(base.shape)
    if "dora_scale" in parts:
        norms = merged.reshape(merged.shape[0], -1).norm(dim=1)
        scale = parts["dora_scale"]
        assert scale.shape == (merged.shape[0], *[1] * (merged.dim() - 1)), "stands along the outputs"
        merged = merged * (scale / norms.reshape(scale.shape))
    return merged.to(weight.dtype)
