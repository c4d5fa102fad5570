"""The differences between the WebUI and its forks, as data: repositories, commits and flags.

Taken from each fork's modules/launch_utils.py and modules/cmd_args.py at the commit named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from roles.launch_flags import Kind

Pin = tuple[str, str]
"""Clone URL and full commit id."""


@dataclass(frozen=True)
class Flavor:
    """A fork at the release that sdfleet supports."""

    repository: str
    ref: str
    commits: Mapping[str, str]
    """Refs with a known commit, which need no entry in the lock."""
    repositories: Mapping[str, Pin]
    """The repositories that the launcher needs below repositories/."""
    commit_variables: Mapping[str, str]
    """The launcher's environment variables for their commits."""
    cpu_arguments: tuple[str, ...]
    """Arguments for running on the CPU."""
    flags: Mapping[str, Kind]
    lock: str
    """Prefix of the names of its shipped locks."""


SWITCHES = """
    add_stop_route administrator allow_code always_batch_cond_uncond api_log api_server_stop deepdanbooru
    disable_all_extensions disable_console_progressbars disable_extra_extensions disable_model_loading_ram_optimization
    disable_nan_check disable_opt_split_attention disable_safe_unpickle disable_tls_verify do_not_download_clip
    enable_console_prompts enable_insecure_extension_access force_enable_xformers freeze_settings gradio_debug
    hide_ui_dir_config log_startup lowram lowvram medvram medvram_sdxl no_gradio_queue no_half no_half_vae no_hashing
    no_progressbar_hiding no_prompt_history nowebui opt_sdp_attention opt_sdp_no_mem_attention opt_split_attention
    opt_split_attention_invokeai opt_split_attention_v1 opt_sub_quad_attention show_negative_prompt skip_install
    skip_load_model_at_start skip_python_version_check skip_torch_cuda_test skip_version_check ui_debug_mode
    unix_filenames_sanitization unload_gfpgan upcast_sampling use_ipex use_textbox_seed xformers
    xformers_flash_attention
"""
INTEGERS = """
    filenames_max_length max_batch_count sub_quad_chunk_threshold sub_quad_kv_chunk_size sub_quad_q_chunk_size
    timeout_keep_alive
"""
TEXTS = """
    bsrgan_models_path ckpt ckpt_dir clip_models_path codeformer_models_path config cors_allow_origins
    cors_allow_origins_regex dat_models_path device_id embeddings_dir esrgan_models_path freeze_settings_in_sections
    freeze_specific_settings gfpgan_dir gfpgan_model gfpgan_models_path gradio_allowed_path gradio_img2img_tool
    gradio_inpaint_tool hypernetwork_dir ldsr_models_path localizations_dir loglevel lora_dir lyco_dir_backcompat
    precision realesrgan_models_path scunet_models_path styles_file swinir_models_path textual_inversion_templates_dir
    theme use_cpu vae_dir vae_path
"""
_SHARED: dict[str, Kind] = {
    **dict.fromkeys(SWITCHES.split(), "switch"),
    **dict.fromkeys(INTEGERS.split(), "integer"),
    **dict.fromkeys(TEXTS.split(), "text"),
}
"""Flags of the WebUI 1.10.1, which its forks kept."""

BACKEND = """
    all_in_fp16 all_in_fp32 always_cpu always_gpu always_high_vram always_low_vram always_no_vram always_normal_vram
    always_offload_from_vram attention_pytorch attention_quad attention_split clip_in_fp16 clip_in_fp32 cuda_malloc
    cuda_stream disable_xformers force_upcast_attention pin_shared_memory pytorch_deterministic unet_in_bf16
    unet_in_fp16 vae_in_bf16 vae_in_cpu vae_in_fp16 vae_in_fp32
"""
_BACKEND: dict[str, Kind] = dict.fromkeys(BACKEND.split(), "switch")
"""Flags of the memory management that both forks share."""

_ASSETS = (
    "https://github.com/AUTOMATIC1111/stable-diffusion-webui-assets.git",
    "6f7db241d2f8ba7457bac5ca9753331f0c266917",
)
_BLIP = ("https://github.com/salesforce/BLIP.git", "48211a1594f1321b00f14c9f7a5b4813144b2fb9")
_WITH_LDM = {
    "stable-diffusion-webui-assets": _ASSETS,
    "stable-diffusion-stability-ai": (
        "https://github.com/w-e-w/stablediffusion.git",
        "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf",
    ),
    "generative-models": (
        "https://github.com/Stability-AI/generative-models.git",
        "45c443b316737a4ab6e40413d7794a7f5657c19f",
    ),
    "k-diffusion": ("https://github.com/crowsonkb/k-diffusion.git", "ab527a9a6d347f364e3d185ba6d714e22d80cb3c"),
    "BLIP": _BLIP,
}
_VARIABLES = {
    "stable-diffusion-webui-assets": "ASSETS_COMMIT_HASH",
    "stable-diffusion-stability-ai": "STABLE_DIFFUSION_COMMIT_HASH",
    "generative-models": "STABLE_DIFFUSION_XL_COMMIT_HASH",
    "k-diffusion": "K_DIFFUSION_COMMIT_HASH",
    "BLIP": "BLIP_COMMIT_HASH",
}
_FORGE = "dfdcbab685e57677014f05a3309b48cc87383167"
_REFORGE = "3b56b268ad9158ee8b30900973b6ccda4ec22241"

FLAVORS: Mapping[str, Flavor] = MappingProxyType(
    {
        "a1111": Flavor(
            repository="https://github.com/AUTOMATIC1111/stable-diffusion-webui.git",
            ref="v1.10.1",
            commits={"v1.10.1": "82a973c04367123ae98bd9abdf80d9eda9b910e2"},
            repositories=_WITH_LDM,
            commit_variables=_VARIABLES,
            cpu_arguments=("--use-cpu", "all", "--no-half", "--precision", "full"),
            flags=_SHARED | {"opt_channelslast": "switch"},
            lock="v1.10.1",
        ),
        "forge": Flavor(
            repository="https://github.com/lllyasviel/stable-diffusion-webui-forge.git",
            ref=_FORGE,
            commits={},
            repositories={
                "stable-diffusion-webui-assets": _ASSETS,
                "huggingface_guess": (
                    "https://github.com/lllyasviel/huggingface_guess.git",
                    "84826248b49bb7ca754c73293299c4d4e23a548d",
                ),
                "BLIP": _BLIP,
            },
            commit_variables=_VARIABLES | {"huggingface_guess": "HUGGINGFACE_GUESS_HASH"},
            cpu_arguments=("--always-cpu", "--all-in-fp32"),
            flags=_SHARED
            | _BACKEND
            | {"opt_channelslast": "switch", "controlnet_dir": "text", "text_encoder_dir": "text"}
            | {"controlnet_preprocessor_models_dir": "text", "skip_google_blockly": "switch"},
            lock="forge-dfdcbab6",
        ),
        "reforge": Flavor(
            repository="https://github.com/Panchovix/stable-diffusion-webui-reForge.git",
            ref=_REFORGE,
            commits={},
            repositories=_WITH_LDM
            | {
                "stable-diffusion-stability-ai": (
                    "https://github.com/joypaul162/Stability-AI-stablediffusion.git",
                    "f16630a927e00098b524d687640719e4eb469b76",
                )
            },
            commit_variables=_VARIABLES,
            cpu_arguments=("--always-cpu", "--all-in-fp32"),
            flags=_SHARED
            | _BACKEND
            | {"force_channels_last": "switch", "controlnet_dir": "text", "controlnet_preprocessor_models_dir": "text"},
            lock="reforge-3b56b268",
        ),
    }
)
