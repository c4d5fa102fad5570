"""The differences between the WebUI and its fork Forge Neo, as data: repositories, commits, flags and packages.

Taken from each one's modules/launch_utils.py and argparse parser at the commit named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from roles.launch_flags import Kind

Pin = tuple[str, str]
"""Clone URL and full commit id."""


@dataclass(frozen=True)
class Flavor:
    """The WebUI or a fork, at the release that sdfleet supports."""

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
    for_cpu: str
    """The build whose lock serves CPU hosts."""
    requirements: str
    """The file with its requirements."""
    beside: tuple[str, ...]
    """Packages that the file does not list: what the launcher installs by itself, and what CLIP needs, which is
    installed from its commit without dependencies."""
    overrides: tuple[str, ...] = ()
    """Versions that hold although another package asks for others."""
    arguments: tuple[str, ...] = ()
    """Arguments that it always gets."""
    check_arguments: tuple[str, ...] = ()
    """Arguments for the launcher's check of a built release."""
    data_folders: Mapping[str, str] = field(default_factory=dict)
    """Options for folders of models that it would look for elsewhere -> the folder below the data folder."""
    unpacked: Mapping[str, str] = field(default_factory=dict)
    """Files that its start unpacks into its code unless they are there; it cannot write there -> their .xz files."""
    spelled: Mapping[str, str] = field(default_factory=dict)
    """Flags that it has under another name -> the option."""
    managed: Mapping[str, str] = field(default_factory=dict)
    """Further flags that sdfleet sets -> what to do instead."""
    keeps_loras: bool = False
    """Whether it remembers LoRAs by the names of their files: then it sees a replaced one only after a restart."""


SWITCHES = """
    add_stop_route administrator allow_code always_batch_cond_uncond api_log api_server_stop deepdanbooru
    disable_all_extensions disable_console_progressbars disable_extra_extensions disable_model_loading_ram_optimization
    disable_nan_check disable_opt_split_attention disable_safe_unpickle disable_tls_verify do_not_download_clip
    enable_console_prompts enable_insecure_extension_access force_enable_xformers freeze_settings gradio_debug
    hide_ui_dir_config log_startup lowram lowvram medvram medvram_sdxl no_gradio_queue no_half no_half_vae no_hashing
    no_progressbar_hiding no_prompt_history nowebui opt_channelslast opt_sdp_attention opt_sdp_no_mem_attention
    opt_split_attention opt_split_attention_invokeai opt_split_attention_v1 opt_sub_quad_attention show_negative_prompt
    skip_install skip_load_model_at_start skip_python_version_check skip_torch_cuda_test skip_version_check
    ui_debug_mode unix_filenames_sanitization unload_gfpgan upcast_sampling use_ipex use_textbox_seed xformers
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
_A1111: dict[str, Kind] = {
    **dict.fromkeys(SWITCHES.split(), "switch"),
    **dict.fromkeys(INTEGERS.split(), "integer"),
    **dict.fromkeys(TEXTS.split(), "text"),
}
"""Flags of the WebUI 1.10.1."""

NEO_SWITCHES = """
    add_stop_route administrator adv_samplers all_in_fp16 all_in_fp32 always_cpu always_gpu always_high_vram
    always_low_vram always_no_vram always_normal_vram always_offload_from_vram api_log api_server_stop
    attention_pytorch attention_split clip_in_cpu clip_in_fp16 clip_in_fp32 clip_in_fp8_e4m3fn clip_in_fp8_e5m2
    cuda_malloc cuda_stream disable_all_extensions disable_attention_upcast disable_console_progressbars
    disable_extra_extensions disable_flash disable_gpu_warning disable_ipex_hijack disable_mmap disable_safe_unpickle
    disable_sage disable_tls_verify disable_xformers enable_console_prompts enable_insecure_extension_access fast_fp16
    force_upcast_attention freeze_settings gradio_debug hide_ui_dir_config log_startup mmap_torch_files
    no_gradio_queue no_hashing no_prompt_history nowebui pin_shared_memory pytorch_deterministic skip_version_check
    ui_debug_mode unet_in_bf16 unet_in_fp16 unet_in_fp8_e4m3fn unet_in_fp8_e5m2 unix_filenames_sanitization
    use_textbox_seed vae_in_bf16 vae_in_cpu vae_in_fp16 vae_in_fp32
"""
NEO_TEXTS = """
    ckpt_dirs codeformer_models_path controlnet_dir controlnet_preprocessor_models_dir cors_allow_origins
    cors_allow_origins_regex device_id embeddings_dir esrgan_models_path freeze_settings_in_sections
    freeze_specific_settings gfpgan_models_path gradio_allowed_path localizations_dir loglevel lora_dir lora_dirs
    styles_file text_encoder_dirs theme vae_dirs
"""
_NEO: dict[str, Kind] = {
    **dict.fromkeys(NEO_SWITCHES.split(), "switch"),
    **dict.fromkeys(("filenames_max_length", "timeout_keep_alive"), "integer"),
    **dict.fromkeys(NEO_TEXTS.split(), "text"),
    "controlnet_loglevel": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    "sage2_function": ("auto", "fp16_triton", "fp16_cuda", "fp8_cuda"),
    "sage_accum_dtype": ("fp16", "fp32", "fp16+fp32", "fp32+fp32"),
    "sage_quant_gran": ("per_warp", "per_thread"),
    "sage_quantization_backend": ("cuda", "triton"),
}
"""Flags of Forge Neo 2.6; those that only have its launcher install packages are left out."""

_LDM = {
    "stable-diffusion-webui-assets": (
        "https://github.com/AUTOMATIC1111/stable-diffusion-webui-assets.git",
        "6f7db241d2f8ba7457bac5ca9753331f0c266917",
    ),
    "stable-diffusion-stability-ai": (
        "https://github.com/w-e-w/stablediffusion.git",
        "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf",
    ),
    "generative-models": (
        "https://github.com/Stability-AI/generative-models.git",
        "45c443b316737a4ab6e40413d7794a7f5657c19f",
    ),
    "k-diffusion": ("https://github.com/crowsonkb/k-diffusion.git", "ab527a9a6d347f364e3d185ba6d714e22d80cb3c"),
    "BLIP": ("https://github.com/salesforce/BLIP.git", "48211a1594f1321b00f14c9f7a5b4813144b2fb9"),
}
_VARIABLES = {
    "stable-diffusion-webui-assets": "ASSETS_COMMIT_HASH",
    "stable-diffusion-stability-ai": "STABLE_DIFFUSION_COMMIT_HASH",
    "generative-models": "STABLE_DIFFUSION_XL_COMMIT_HASH",
    "k-diffusion": "K_DIFFUSION_COMMIT_HASH",
    "BLIP": "BLIP_COMMIT_HASH",
}
_CLIP = ("ftfy", "regex", "tqdm", "packaging", "wheel")
"""Dependencies and build tools of CLIP."""
_TOKENIZERS = "backend/huggingface"
_INSTALLED_BY_ITS_LAUNCHER = "it only has the launcher install a package; pin that with webui.requirements"

FLAVORS: Mapping[str, Flavor] = MappingProxyType(
    {
        "a1111": Flavor(
            repository="https://github.com/AUTOMATIC1111/stable-diffusion-webui.git",
            ref="v1.10.1",
            commits={"v1.10.1": "82a973c04367123ae98bd9abdf80d9eda9b910e2"},
            repositories=_LDM,
            commit_variables=_VARIABLES,
            arguments=("--no-download-sd-model",),
            cpu_arguments=("--use-cpu", "all", "--no-half", "--precision", "full"),
            flags=_A1111,
            lock="v1.10.1",
            # torch 2.1.2, with which the WebUI was released.
            for_cpu="cu121",
            requirements="requirements_versions.txt",
            beside=_CLIP,
        ),
        "forge-neo": Flavor(
            repository="https://github.com/Haoming02/sd-webui-forge-classic.git",
            ref="2.6",
            commits={"2.6": "b3403af1cf0e468272464207319057548c0567fe"},
            repositories={},
            commit_variables={},
            # Its gradio serves the files of its page only from the data folder, unless the code's is allowed too.
            arguments=("--gradio-allowed-path", "."),
            cpu_arguments=("--always-cpu", "--all-in-fp32"),
            # Its built-in extensions bring installers, which would be run.
            check_arguments=("--disable-all-extensions",),
            data_folders={"--embeddings-dir": "embeddings"},
            unpacked={
                f"{_TOKENIZERS}/Wan-AI/Wan2.1-T2V-14B/tokenizer/tokenizer.json": f"{_TOKENIZERS}/wan.tokenizer.json.xz",
                f"{_TOKENIZERS}/Wan-AI/Wan2.1-I2V-14B/tokenizer/tokenizer.json": f"{_TOKENIZERS}/wan.tokenizer.json.xz",
                f"{_TOKENIZERS}/neta-art/Neta-Lumina/tokenizer/tokenizer.json": f"{_TOKENIZERS}/neta.tokenizer.json.xz",
                f"{_TOKENIZERS}/Tongyi-MAI/Z-Image-Turbo/tokenizer/tokenizer.json": (
                    f"{_TOKENIZERS}/z.tokenizer.json.xz"
                ),
            },
            flags=_NEO,
            spelled={"device_id": "--gpu-device-id"},
            managed={
                "gpu_device_id": "set webui.flags.device_id",
                "model_ref": "set fleet.data_root",
                "use_cpu": "set webui.device",
                **dict.fromkeys(
                    ("flash", "onnxruntime_gpu", "sage", "uv", "uv_symlink", "xformers"), _INSTALLED_BY_ITS_LAUNCHER
                ),
            },
            lock="forge-neo-2.6",
            for_cpu="cu128",
            requirements="requirements.txt",
            # Not nunchaku, which the launcher would install too: no package index has it.
            beside=(
                "gradio==4.40.0",
                "gradio_imageslider==0.0.20",
                "gradio_rangeslider==0.0.6",
                "bitsandbytes==0.48.2",
                *_CLIP,
            ),
            # gradio 4.40.0 declares pillow<11; the launcher installs the requirements after it.
            overrides=("pillow==11.3.0",),
            keeps_loras=True,
        ),
    }
)
