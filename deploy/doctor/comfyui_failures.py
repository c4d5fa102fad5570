"""Known failures of ComfyUI, by what 0.3.64 writes about them; what it shares with the WebUI is in failures.py."""

from deploy.doctor.failure import Failure

COMFYUI = (
    Failure(
        "a custom node needs a package that is not there",
        r"Cannot import \S.* module for custom nodes: No module named",
        "Pin the node in {comfyui.custom_nodes}, run `sdfleet lock envs --app comfyui`, set {comfyui.requirements} to "
        "its folder, and apply; a node's own installer never runs.",
        "ComfyUI#2533",
    ),
    Failure(
        "a custom node cannot be loaded",
        r"Cannot import \S.* module for custom nodes: (?!No module named)"
        r"|Skip \S.* module for custom nodes due to the lack of NODE_CLASS_MAPPINGS"
        r"|Error while calling comfy_entrypoint in ",
        "Pin a commit of it that fits this ComfyUI in {comfyui.custom_nodes}, or remove it from "
        "data/comfyui/custom_nodes; then: sdfleet restart comfyui.",
        "ComfyUI_MaskGCT#8",
    ),
    Failure(
        "packages of ComfyUI itself are missing",
        r"(?<!\()IMPORT FAILED: |some comfy_(extras|api_nodes)/ nodes did not import correctly"
        r"|comfyui-(frontend-package|workflow-templates) is not installed"
        r"|Installed frontend version \S+ is lower than the recommended version",
        "Lock the environment of this commit (`sdfleet lock envs --app comfyui`, {comfyui.requirements}) and apply; do "
        "not run pip there, as the message proposes.",
        "ComfyUI#7025",
    ),
    Failure(
        "ComfyUI's database is locked",
        r"Failed to initialize database\..*database is locked|Could not acquire lock on database",
        "End the other ComfyUI that uses this data folder, then: sdfleet restart comfyui.",
        "comfyui_queue_manager#2",
    ),
    Failure(
        "ComfyUI's database is of another release, or cannot be opened",
        r"Failed to initialize database\.(?!.*database is locked)",
        "Move data/comfyui/user/comfyui.db out of the way (an update may have changed it before a rollback), then: "
        "sdfleet restart comfyui.",
        "ComfyUI#10035",
    ),
    Failure(
        "another program has the port",
        r"port \d+ cannot be taken: Address already in use"
        r"|error while attempting to bind on address .*address already in use",
        "Stop that program, or set another port and apply: {webui.port}, {comfyui.port}.",
        "ComfyUI#1579",
    ),
    Failure(
        "a model is not of the kind that its folder is for",
        r"Could not detect model type of: |(controlnet|clip vision) file is invalid and does not contain a valid"
        r"|error checkpoint does not contain controlnet",
        'Give it the right `kind` in [[models]] and apply: a LoRA is "lora", a model without text encoder and VAE '
        '"models/diffusion_models".',
        "ComfyUI#5494",
    ),
    Failure(
        "a checkpoint has no VAE or no text encoder",
        r"ERROR: (VAE|clip input) is invalid: None",
        'Load these with nodes of their own (kinds "vae" and "text_encoder" in [[models]]), or draw with a checkpoint '
        "that has them.",
        "ComfyUI#6880",
    ),
    Failure(
        "a model is a pickle that is not read, or damaged",
        r"Weights only load failed",
        "Take it as .safetensors, or run `sdfleet models convert MODEL --host HOST`; `sdfleet models check` finds "
        "damaged files.",
        "ComfyUI#8208",
    ),
    Failure(
        "a workflow names a model that is not there",
        r"Value not in list: \w+_name: ",
        "Choose one of the list in the workflow, or add it to [[models]] under that name and apply.",
        "ComfyUI#8826",
    ),
    Failure(
        "a workflow has nodes that are not installed",
        r"Cannot execute because (node .* does not exist|a node is missing the class_type property)",
        "Pin the custom nodes that have them in {comfyui.custom_nodes} and apply.",
        "ComfyUI#10969",
    ),
    Failure(
        "a LoRA does not fit the model, or not in part",
        r"lora key not loaded: ",
        "Use it with a model of its family (SD 1.5, SDXL, ...); its keys must have kohya's names.",
        "ComfyUI#6381",
    ),
    Failure(
        "the card's memory is too small for what ComfyUI draws",
        r"Got an OOM, unloading all loaded models|OutOfMemoryError: Allocation on device",
        "Set {comfyui.flags.lowvram} = true and apply, draw smaller pictures, or end the training beside it.",
        "ComfyUI#6222",
    ),
    Failure(
        "torch is a build for the CPU",
        r"Torch not compiled with CUDA enabled",
        'Leave {comfyui.torch} at "auto" and apply; a lock of your own must have a CUDA build.',
        "ComfyUI#7433",
    ),
    Failure(
        "the model computes NaN, so the picture is black",
        r"RuntimeWarning: invalid value encountered in cast",
        "Set {comfyui.flags.fp32_vae} = true and apply, or take another VAE; if the sampler computes them, set "
        "{comfyui.flags.force_upcast_attention} = true.",
        "ComfyUI#4241",
    ),
    Failure(
        "ComfyUI refuses a page of another address",
        r"request with non matching host and origin ",
        "Open it with `sdfleet open` or through the gateway; another proxy before it must pass on the Host that the "
        "browser sent.",
        "ComfyUI#4865",
    ),
)
"""In the order in which they are shown."""
