"""The nodes that the stand-in has, in ComfyUI's form."""

import json
import random
import re
import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from PIL.PngImagePlugin import PngInfo

from .studio import Studio

SAMPLERS = {"euler": "Euler", "ddim": "DDIM"}
"""ComfyUI's name of a sampler, and the painter's."""
LARGEST = 16384
Strengths = tuple[tuple[Path, float], ...]


@dataclass(frozen=True)
class Part:
    """A network of a checkpoint, with LoRAs."""

    checkpoint: Path
    loras: Strengths = ()


@dataclass(frozen=True)
class Conditioning:
    """A text, and the encoder that is to encode it."""

    text: str
    clip: Part


@dataclass(frozen=True)
class Latent:
    """Latents, None where nothing was drawn yet."""

    width: int
    height: int
    count: int
    samples: Any = None


class Node:
    """What all nodes of the stand-in share; attributes in capitals are ComfyUI's."""

    studio: ClassVar[Studio]
    OUTPUT_NODE = False
    CATEGORY = "stand-in"

    @classmethod
    def draw_with(cls, studio: Studio) -> None:
        """What all of them draw with."""
        cls.studio = studio


class CheckpointLoaderSimple(Node):
    """Load Checkpoint."""

    RETURN_TYPES, FUNCTION = ("MODEL", "CLIP", "VAE"), "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        return {"required": {"ckpt_name": (cls.studio.folders.names("checkpoints"), {})}}

    def load(self, ckpt_name: str) -> tuple[Part, Part, Part]:
        """Load it. Raises RuntimeError if it is none of SD 1.5."""
        part = Part(self.studio.folders.find("checkpoints", ckpt_name))
        self.studio.load(part.checkpoint)
        return part, part, part


class LoraLoader(Node):
    """Load LoRA."""

    RETURN_TYPES, FUNCTION = ("MODEL", "CLIP"), "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        strength = ("FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01})
        names: tuple[Any, ...] = (cls.studio.folders.names("loras"), {})
        inputs = {"model": ("MODEL",), "clip": ("CLIP",), "lora_name": names}
        return {"required": {**inputs, "strength_model": strength, "strength_clip": strength}}

    def load(
        self, model: Part, clip: Part, lora_name: str, strength_model: float, strength_clip: float
    ) -> tuple[Part, Part]:
        """The networks with one LoRA more."""
        path = self.studio.folders.find("loras", lora_name)
        return (
            replace(model, loras=(*model.loras, (path, strength_model))),
            replace(clip, loras=(*clip.loras, (path, strength_clip))),
        )


class CLIPTextEncode(Node):
    """CLIP Text Encode (Prompt)."""

    RETURN_TYPES, FUNCTION = ("CONDITIONING",), "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        return {"required": {"text": ("STRING", {"multiline": True}), "clip": ("CLIP",)}}

    def encode(self, text: str, clip: Part) -> tuple[Conditioning]:
        """The text, for the sampler."""
        return (Conditioning(text, clip),)


class EmptyLatentImage(Node):
    """Empty Latent Image."""

    RETURN_TYPES, FUNCTION = ("LATENT",), "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        side = ("INT", {"default": 512, "min": 16, "max": LARGEST, "step": 8})
        return {
            "required": {"width": side, "height": side, "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096})}
        }

    def generate(self, width: int, height: int, batch_size: int) -> tuple[Latent]:
        """Nothing yet."""
        return (Latent(width, height, batch_size),)


class KSampler(Node):
    """KSampler; `scheduler` and `denoise` have no effect."""

    RETURN_TYPES, FUNCTION = ("LATENT",), "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        return {
            "required": {
                "model": ("MODEL",),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**64 - 1}),
                "steps": ("INT", {"default": 20, "min": 1, "max": 10000}),
                "cfg": ("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0}),
                "sampler_name": (list(SAMPLERS), {}),
                "scheduler": (["simple", "karras", "normal"], {}),
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "latent_image": ("LATENT",),
                "denoise": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0}),
            }
        }

    def sample(
        self, model: Part, positive: Conditioning, negative: Conditioning, latent_image: Latent, **values: Any
    ) -> tuple[Latent]:
        """Draw; a batch has seeds that count up."""
        from drawing.painter import Order

        order = Order(
            prompt=positive.text,
            negative_prompt=negative.text,
            seeds=[(values["seed"] + index) % 2**64 for index in range(latent_image.count)],
            steps=values["steps"],
            cfg_scale=values["cfg"],
            width=latent_image.width,
            height=latent_image.height,
            sampler=SAMPLERS[values["sampler_name"]],
        )
        loras = [(path, (0.0, strength)) for path, strength in model.loras]
        loras += [(path, (strength, 0.0)) for path, strength in positive.clip.loras]
        return (replace(latent_image, samples=self.studio.sample(model.checkpoint, order, loras)),)


class VAEDecode(Node):
    """VAE Decode."""

    RETURN_TYPES, FUNCTION = ("IMAGE",), "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

    def decode(self, samples: Latent, vae: Part) -> tuple[list[Any]]:
        """The pictures."""
        return (self.studio.decode(vae.checkpoint, samples.samples),)


class SaveImage(Node):
    """Save Image."""

    RETURN_TYPES: tuple[str, ...] = ()
    FUNCTION, OUTPUT_NODE = "save", True
    kind = "output"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        prefix = ("STRING", {"default": "ComfyUI"})
        hidden = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
        return {"required": {"images": ("IMAGE",), "filename_prefix": prefix}, "hidden": hidden}

    def save(
        self, images: list[Any], filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Write PNG files. Raises ValueError for a prefix that leads out of the folder."""
        top = self.studio.folders.shown(self.kind)
        assert top is not None
        place = (top / filename_prefix).resolve()
        if not place.parent.is_relative_to(top.resolve()):
            raise ValueError("Saving image outside the output folder is not allowed.")
        place.parent.mkdir(parents=True, exist_ok=True)
        taken = [re.fullmatch(rf"{re.escape(place.name)}_(\d+)_\.png", file.name) for file in place.parent.iterdir()]
        first = max((int(match[1]) for match in taken if match), default=0) + 1
        texts = {"prompt": prompt, **(extra_pnginfo or {})} if self.studio.metadata else {}
        saved = []
        for number, image in enumerate(images, first):
            info = PngInfo()
            for key, value in texts.items():
                info.add_text(key, json.dumps(value))
            name = f"{place.name}_{number:05}_.png"
            image.save(place.parent / name, pnginfo=info)
            below = place.parent.relative_to(top.resolve())
            saved.append({"filename": name, "subfolder": "" if below == Path() else str(below), "type": self.kind})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    """Preview Image."""

    kind = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Its inputs."""
        inputs = super().INPUT_TYPES()
        return {**inputs, "required": {"images": ("IMAGE",)}}

    def save(
        self, images: list[Any], filename_prefix: str = "", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Write PNG files with a name that nobody guesses."""
        prefix = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))
        return super().save(images, prefix, prompt, extra_pnginfo)


BUILT_IN = (
    *(CheckpointLoaderSimple, LoraLoader, CLIPTextEncode, EmptyLatentImage),
    *(KSampler, VAEDecode, SaveImage, PreviewImage),
)
