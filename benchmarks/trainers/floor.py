"""A minimal LoRA training loop: cached latents and text, a UNet with PEFT layers, forward, backward, AdamW.

python floor.py MATERIALS TARGETS     TARGETS: kohya (every layer of the attention blocks) or attention (diffusers')
"""

import sys
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file
from torch.nn import functional

RANK = 8
TARGETS = {
    "kohya": r".*attentions.*(proj_in|proj_out|to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)",
    "attention": r".*attentions.*(to_q|to_k|to_v|to_out\.0)",
}


def main(materials: Path, targets: str) -> None:
    """Train forever."""
    torch.manual_seed(1)
    unet = UNet2DConditionModel.from_pretrained(materials / "model", subfolder="unet").requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS[targets]))
    optimizer = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad], lr=1e-4)
    cached = load_file(materials / "cached.safetensors")
    shares = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    unet.train()
    for number in range(1_000_000):
        at = number % len(cached["latents"])
        latents, text = cached["latents"][at : at + 1], cached["text"][at : at + 1]
        noise, time = torch.randn_like(latents), torch.randint(0, 1000, (1,))
        share = shares[time].view(-1, 1, 1, 1)
        said = unet(share.sqrt() * latents + (1 - share).sqrt() * noise, time, text, return_dict=False)[0]
        functional.mse_loss(said, noise).backward()
        optimizer.step()
        optimizer.zero_grad()


main(Path(sys.argv[1]), sys.argv[2])
