"""Modules of networks that are read, and their arguments: with an equivalent in our config, or the reason why not."""

from training.kohya import values

KOHYA = "networks.lora"
LYCORIS = "lycoris.kohya"
KINDS = {"lora": "locon", "locon": "locon", "loha": "loha", "lokr": "lokr"}
"""LyCORIS' algo -> our kind."""

MODULE_KINDS = {"networks.loha": "loha", "networks.lokr": "lokr"}
"""Other modules of sd-scripts -> our kind."""

EQUIVALENTS: dict[str, tuple[str, values.Convert]] = {
    "rank_dropout": ("network.rank_dropout", values.number),
    "module_dropout": ("network.module_dropout", values.number),
    "dropout": ("network.dropout", values.number),
    "factor": ("network.lokr_factor", values.whole),
    "lokr_factor": ("network.lokr_factor", values.whole),
}
"""Arguments with an equivalent: our setting, and the conversion of the value."""

WITHOUT_EQUIVALENT = {
    "block_dims": "ranks by block are set in network.ranks",
    "block_alphas": "alphas by block are set in network.alphas",
    "conv_block_dims": "ranks by block are set in network.ranks",
    "conv_block_alphas": "alphas by block are set in network.alphas",
    "down_lr_weight": "rates by block are not supported",
    "mid_lr_weight": "rates by block are not supported",
    "up_lr_weight": "rates by block are not supported",
    "block_lr_zero_threshold": "rates by block are not supported",
    "loraplus_lr_ratio": "LoRA+ is not supported",
    "loraplus_unet_lr_ratio": "LoRA+ is not supported",
    "loraplus_text_encoder_lr_ratio": "LoRA+ is not supported",
    "verbose": "is about kohya's own output",
    "use_cp": "Tucker decomposition is not used",
    "use_conv_cp": "Tucker decomposition is not used",
    "use_tucker": "Tucker decomposition is not used",
    "use_scalar": "no extra scalar is trained",
    "train_norm": "normalisation layers are not trained",
    "decompose_both": "LoKr decomposes its second factor only",
    "full_matrix": "LoKr keeps the rank that is given",
    "bypass_mode": "is about how LyCORIS computes, not what",
    "rs_lora": "the scale is alpha / rank",
    "rank_dropout_scale": "kept ranks are not scaled up",
    "wd_on_output": "is about LyCORIS' own layout",
    "disable_conv_cp": "Tucker decomposition is not used",
    "unit": "DyLoRA is not supported; lora-train resize makes lower ranks afterwards",
}
"""Arguments without an equivalent, each with the reason."""

DECOMPOSED = ("dora_wd", "weight_decompose")
SIZES = ("conv_dim", "conv_alpha", "algo", "preset", *DECOMPOSED)
"""Arguments that choose kind, size and place."""

WITHOUT_CONVOLUTIONS = ("attn-mlp", "unet-transformer-only")
UNET_ONLY = ("unet-only", "unet-transformer-only", "unet-convblock-only")
EXACT = ("attn-mlp", "unet-transformer-only")
"""LyCORIS' presets whose layers are just those that are trained here."""

LAYERS = "the layers here are those of sd-scripts: attention, MLPs and projections, 3x3 convolutions by conv_rank"

GUI_ARGUMENTS = {
    "lycoris_algo": "algo",
    "conv_dim": "conv_dim",
    "conv_alpha": "conv_alpha",
    "dropout": "dropout",
    "lokr_factor": "factor",
}
"""Keys of lora-scripts' GUI that are arguments of the network."""
