"""Known failures, recognised by their lines in the journal, each with its cure."""

from deploy.doctor.comfyui_failures import COMFYUI
from deploy.doctor.failure import Failure

NO_GPU = "torch sees no GPU"
"""lora-scripts prints this at each start without a GPU; on a CPU host it is no failure."""

FAILURES = (
    Failure(
        "a repository of the WebUI is gone",
        r"Stability-AI/stablediffusion(\.git)?/?' not found|Couldn't clone Stable Diffusion",
        "Apply: sdfleet clones the same commit from where it still exists ({webui.repositories}).",
        "A1111#17213",
    ),
    Failure(
        "GitHub asks for a login: the repository does not exist there",
        r"could not read Username for 'https://|Username for 'https://github\.com'",
        "Correct the URL of the repository or extension in fleet.toml; no password helps.",
        "A1111#17213",
    ),
    Failure(
        "setuptools is too new for an old setup.py",
        r"No module named '?pkg_resources",
        "Apply: sdfleet's lock builds with setuptools below 81; a lock of your own must pin it too.",
        "A1111#17293",
    ),
    Failure(
        "a package was built in isolation, with the newest setuptools",
        r"Getting requirements to build wheel did not run successfully",
        "Install only with sdfleet apply, which builds without isolation; remove `pip install` from your scripts.",
        "vast-ai/base-image",
    ),
    Failure(
        "this Python has no such torch",
        r"requirement torch==[\d.]+(\+\w+)? \(from versions|INCOMPATIBLE PYTHON VERSION",
        'Set {webui.python} = "3.11" and apply: uv installs that Python if the system has another.',
        "A1111#16352",
    ),
    Failure(
        "torch is too old for the card",
        r"with CUDA capability sm_1[0-9]{2} is not compatible",
        'Leave {gpu.webui_torch} at "auto" and apply: RTX 50 and B200 get torch 2.8 with cu128.',
        "A1111#16972",
    ),
    Failure(
        "torch has no code for the card",
        r"no kernel image is available for execution on the device",
        'Leave {gpu.webui_torch} and {gpu.trainer_torch} at "auto" and apply: the build follows the compute '
        "capability.",
        "A1111#17235",
    ),
    Failure(
        NO_GPU,
        r"Torch is not able to use GPU|CUDA unknown error - this may be due to an incorrectly set up environment"
        r"|Found no NVIDIA driver on your system",
        "See what this report says about the driver; without the test the WebUI would use the CPU, very slowly.",
        "A1111#783",
    ),
    Failure(
        "the driver is too old for torch",
        r"driver on your system is too old|CUDA driver version is insufficient for CUDA runtime version",
        'Leave {gpu.driver} at "auto" and apply; in a container rent a host with a newer driver.',
        "forge#2053",
    ),
    Failure(
        "xformers does not match torch",
        r"xFormers can't load C\+\+/CUDA extensions",
        "Set {webui.flags.xformers} = false: torch's own attention is as fast on today's cards.",
        "kohya_ss#3139",
    ),
    Failure(
        "bitsandbytes does not match CUDA or glibc",
        r"CUDA Setup failed despite (GPU|CUDA) being available|libbitsandbytes\S*: .*GLIBC",
        'Train with optimizer.kind = "AdamW" (optimizer_type in files of kohya\'s), which needs no bitsandbytes.',
        "lora-scripts#135",
    ),
    Failure(
        "the CLIP tokenizer is missing",
        r"Can't load tokenizer for 'openai/clip-vit-large-patch14'",
        "Apply: the models role seeds the Hugging Face cache; the service itself never downloads.",
        "lora-scripts#639",
    ),
    Failure(
        "the Hugging Face mirror sends no file sizes",
        r"does not have a Content-Length",
        "Download models through [[models]] and sdfleet apply, which checks the hash instead.",
        "hf-mirror-site#31",
    ),
    Failure(
        "a Xet transfer bypassed the mirror",
        r"CAS service error|\bxethub\.hf\.co\b",
        "Set HF_HUB_DISABLE_XET=1 for your own scripts; sdfleet's downloads never use Xet with a mirror.",
        "hf-mirror-site#50",
    ),
    Failure(
        "the hub or a mirror limits requests",
        r"\b429\b.{0,20}Too Many Requests",
        "Wait as long as it says, set secrets.huggingface_token, and lower {mirrors.parallel}; retries prolong it.",
        "huggingface_hub#3377",
    ),
    Failure(
        "a GitHub mirror is dead",
        r"unable to access 'https?://[^'/]+/https://github\.com/",
        "Remove it from {mirrors.github}, or list others before it; this report shows which ones answer.",
        "go-cqhttp#2492",
    ),
    Failure(
        "submodules of lora-scripts are empty",
        r"can't open file '\S*/(stable|dev|flux|sd-scripts)/\w+\.py'.*No such file",
        "Apply: sdfleet checks submodules out with the commit; do not copy the folder by hand.",
        "lora-scripts#118",
    ),
    Failure(
        "git refuses a tree of another owner",
        r"detected dubious ownership in repository",
        "Apply: the tree belongs to root and the service starts without git; do not chown it.",
        "many places",
    ),
    Failure(
        "a folder in repositories/ is no git clone",
        r"Couldn't determine .*'s hash",
        "Remove that folder and apply: sdfleet puts a real clone there.",
        "many places",
    ),
    Failure(
        "the WebUI was started as root",
        r"must not be launched as root",
        "Start it with `sdfleet start webui`: the service has its own user.",
        "A1111#9093",
    ),
    Failure(
        "the Python environment is incomplete",
        r"Cannot activate python venv|\s(?!\S*/envs?/)\S+: No module named '?pip'?$",
        "Apply: sdfleet builds a new environment and switches to it when it is complete.",
        "A1111#2669",
    ),
    Failure(
        "a desktop library is missing",
        r"libGL\.so\.1: cannot open shared object file|libgthread-2\.0\.so\.0: cannot open",
        "Apply: {base.packages} must have libgl1 and libglib2.0-0.",
        "runpod/containers#8",
    ),
    Failure(
        "memory ran out and the kernel killed a process",
        r"Out of memory: Killed process|killed by the OOM killer|oom-kill:",
        "Plan 10 GB of RAM for the WebUI: add swap or rent more; TCMalloc (libgoogle-perftools4) slows the growth.",
        "A1111#14883",
    ),
    Failure(
        "httpx is too new for gradio 3",
        r"__init__\(\) got an unexpected keyword argument '(socket_options|proxies)'",
        "Apply with the shipped lock (httpx 0.24.1); remove the extension that upgrades it.",
        "A1111#13840",
    ),
    Failure(
        "kernel module and programs of the driver differ",
        r"Driver/library version mismatch|API mismatch: the client ",
        "Reboot, then apply: it holds the packages, so that no upgrade can cause this again.",
        "homelab#4110",
    ),
    Failure(
        "the card needs the open kernel modules",
        r"requires use of the NVIDIA open kernel modules|No devices were found",
        'Leave {gpu.modules} at "auto" and apply.',
        "open-gpu-kernel-modules#872",
    ),
    Failure(
        "the GPUs wait for the fabric manager",
        r"[Ee]rror 802|system not yet initialized",
        "Apply: it installs nvidia-fabricmanager at the driver's exact version.",
        "dstack#2348",
    ),
    Failure(
        "a model file is incomplete, or a web page",
        r"Error while deserializing header|invalid load key, '[<{]'",
        "Give the model a sha256 in fleet.toml and apply; for civitai set secrets.civitai_token.",
        "civitai#975",
    ),
    Failure(
        "the disk is full",
        r"No space left on device",
        "Free space, or point fleet.data_root at a larger disk (mounted below /srv or /mnt).",
        "AutoDL's documentation",
    ),
    Failure(
        "a card fell off the bus or hangs",
        r"NVRM: Xid \(PCI:[0-9a-f:.]+\): (79|119|154)\b|GPU has fallen off the bus",
        "Power the server off and on; if it happens again, the card, its slot or its power supply is faulty.",
        "NVIDIA's list of Xid errors",
    ),
    Failure(
        "the card's memory is too small for the picture or the batch",
        r"CUDA out of memory",
        "Set {webui.flags.medvram} = true, for ComfyUI {comfyui.flags.lowvram} = true, generate smaller pictures, or "
        "train with a smaller batch.",
        "many places",
    ),
    *COMFYUI,
)
