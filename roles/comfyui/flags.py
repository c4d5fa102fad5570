"""The launch flags of ComfyUI, as data: taken from comfy/cli_args.py of 0.3.64."""

from roles.launch_flags import Kind, LaunchFlags

SWITCHES = """
    async_offload bf16_text_enc bf16_unet bf16_vae cache_classic cache_none cpu_vae cuda_malloc deterministic
    disable_all_custom_nodes disable_cuda_malloc disable_metadata disable_mmap disable_smart_memory disable_xformers
    dont_upcast_attention enable_compress_response_body fast force_channels_last force_fp16 force_fp32
    force_non_blocking force_upcast_attention fp16_text_enc fp16_unet fp16_vae fp32_text_enc fp32_unet fp32_vae
    fp64_unet fp8_e4m3fn_text_enc fp8_e4m3fn_unet fp8_e5m2_text_enc fp8_e5m2_unet fp8_e8m0fnu_unet gpu_only highvram
    lowvram mmap_torch_files multi_user normalvram novram supports_fp8_compute use_flash_attention
    use_pytorch_cross_attention use_quad_cross_attention use_sage_attention use_split_cross_attention
"""
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(SWITCHES.split(), "switch"),
    "cache_lru": "integer",
    "cuda_device": "integer",
    "default_hashing_function": ("md5", "sha1", "sha256", "sha512"),
    "max_upload_size": "number",
    "preview_method": ("none", "auto", "latent2rgb", "taesd"),
    "preview_size": "integer",
    "reserve_vram": "number",
    "verbose": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}
_INSTEAD = {
    "set comfyui.port": "port",
    "to reach it from elsewhere use the group gateway or `sdfleet open`": "listen enable_cors_header auto_launch "
    "disable_auto_launch",
    "set gateway.tls and use the group gateway": "tls_keyfile tls_certfile",
    "set fleet.data_root": "base_directory output_directory temp_directory input_directory user_directory database_url",
    "list models in [[models]]": "extra_model_paths_config",
    "set comfyui.device": "cpu",
    "pin nodes in comfyui.custom_nodes": "whitelist_custom_nodes",
    "set comfyui.egress": "disable_api_nodes comfy_api_base",
    "its page is in its environment": "front_end_version front_end_root",
    "hosts have NVIDIA cards or none": "directml oneapi_device_selector disable_ipex_optimize default_device",
    "it writes to the journal": "dont_print_server log_stdout",
    "it ends the service": "quick_test_for_ci",
    "it is for Windows": "windows_standalone_build",
}
_WITH_UNDERSCORES = ("fp8_e4m3fn", "fp8_e5m2", "fp8_e8m0fnu")
"""Parts of options that keep them."""


def _option(name: str) -> str:
    kept = next((part for part in _WITH_UNDERSCORES if name.startswith(part)), "")
    return f"--{kept}{name.removeprefix(kept).replace('_', '-')}"


FLAGS = LaunchFlags(
    "this ComfyUI",
    "comfyui",
    _KINDS,
    {flag: instead for instead, flags in _INSTEAD.items() for flag in flags.split()},
    "cuda_device",
    "one of a newer ComfyUI",
    {name: _option(name) for name in _KINDS},
)
