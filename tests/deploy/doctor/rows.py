"""What really goes wrong, row by row from public issue threads, and what shows that it is avoided or named."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing that people hit."""

    number: int
    hit: str
    seen: str
    """Where they reported it."""
    known: str = ""
    """Name of the failure that the doctor knows it as."""
    avoided: tuple[str, ...] = ()
    """Tests, FILE::NAME below tests/, that show that it does not happen here."""


DECISION = "roles/gpu/test_decision.py::"
DRIVER = "roles/gpu/test_driver_on_hosts.py::"
CHECKOUT = "roles/test_pinned_checkout.py::"
UNIT = "roles/test_webui_unit.py::"
FETCH = "roles/models/test_fetch.py::"
LOCKS = "roles/test_locks.py::"
CODE_FOR_EVERY_CARD = f"{DECISION}test_no_card_ever_gets_a_build_that_has_no_code_for_it_or_needs_a_newer_driver"
WHICH_WHEEL = f"{DECISION}test_which_wheel_has_code_for_which_card"

ROWS = (
    Row(
        1,
        "Stability-AI/stablediffusion is gone, so WebUI 1.10.1 cannot be installed",
        "A1111#17213",
        "a repository of the WebUI is gone",
        (f"{UNIT}test_release_of_the_default_is_the_known_commit_with_its_pinned_repositories",),
    ),
    Row(
        2,
        'a missing repository shows as "Username for github.com" and hangs',
        "A1111#17213",
        "GitHub asks for a login: the repository does not exist there",
        (f"{CHECKOUT}test_a_server_that_wants_a_login_is_no_prompt",),
    ),
    Row(
        3,
        "openai CLIP: no pkg_resources",
        "A1111#17293",
        "setuptools is too new for an old setup.py",
        (f"{LOCKS}test_old_setup_files_find_pkg_resources",),
    ),
    Row(
        4,
        "build isolation pulls new setuptools anyway",
        "vast-ai/base-image",
        "a package was built in isolation, with the newest setuptools",
        (f"{LOCKS}test_old_setup_files_find_pkg_resources",),
    ),
    Row(5, "Ubuntu 24.04 has Python 3.12: no torch 2.1.2", "A1111#16352", "this Python has no such torch"),
    Row(6, "RTX 50 (sm_120)", "A1111#16972", "torch is too old for the card", (CODE_FOR_EVERY_CARD, WHICH_WHEEL)),
    Row(
        7,
        'V100 on a cu128 build: "no kernel image"',
        "A1111#17235",
        "torch has no code for the card",
        (CODE_FOR_EVERY_CARD, WHICH_WHEEL),
    ),
    Row(8, '"Torch is not able to use GPU"', "A1111#783", "torch sees no GPU", (f"{DECISION}test_decision",)),
    Row(9, "driver too old for the wheel", "forge#2053", "the driver is too old for torch", (CODE_FOR_EVERY_CARD,)),
    Row(
        10,
        "lora-scripts' install.bash takes torch 2.7.0+cu128 for every CUDA 12",
        "its file",
        avoided=("deploy/test_torch.py::test_lora_scripts_gets_a_build_with_code_for_the_card",),
    ),
    Row(11, "xformers missing or mismatched", "kohya_ss#3139", "xformers does not match torch"),
    Row(
        12,
        "bitsandbytes: CUDA or glibc mismatch",
        "lora-scripts#135",
        "bitsandbytes does not match CUDA or glibc",
        ("training/test_optimizers.py::test_8bit_without_a_gpu_falls_back_and_says_so",),
    ),
    Row(
        13,
        "the CLIP tokenizer's download fails",
        "lora-scripts#639",
        "the CLIP tokenizer is missing",
        ("roles/models/test_wanted.py::test_hub_files_get_the_layout_of_the_hugging_face_cache",),
    ),
    Row(
        14,
        "hf-mirror drops Content-Length",
        "hf-mirror-site#31",
        "the Hugging Face mirror sends no file sizes",
        (f"{FETCH}test_delivers_in_spite_of",),
    ),
    Row(
        15,
        "Xet transfers bypass HF_ENDPOINT",
        "hf-mirror-site#50",
        "a Xet transfer bypassed the mirror",
        ("roles/test_mirrors.py::test_the_environment_file_is_what_a_shell_reads",),
    ),
    Row(
        16,
        "HTTP 429 from the hub or mirror",
        "huggingface_hub#3377",
        "the hub or a mirror limits requests",
        ("deploy/test_lock.py::test_a_server_that_asks_to_wait_is_waited_for", f"{FETCH}test_delivers_in_spite_of"),
    ),
    Row(
        17,
        "ghproxy.com is gone; mirrors are perishable",
        "go-cqhttp#2492",
        "a GitHub mirror is dead",
        ("roles/test_mirrors.py::test_a_proxy_that_answers_with_a_page_is_skipped_and_named",),
    ),
    Row(
        18,
        "submodules empty",
        "lora-scripts#118",
        "submodules of lora-scripts are empty",
        (f"{CHECKOUT}test_submodules_are_there_at_the_commits_the_tree_names",),
    ),
    Row(
        19,
        'git "dubious ownership"',
        "many places",
        "git refuses a tree of another owner",
        (f"{UNIT}test_git_trusts_the_tree_and_memory_is_given_back",),
    ),
    Row(
        20,
        "a non-git folder in repositories/ aborts the launch",
        "many places",
        "a folder in repositories/ is no git clone",
        (f"{CHECKOUT}test_a_plain_folder_in_its_place_becomes_a_clone",),
    ),
    Row(
        21,
        "the WebUI refuses root",
        "A1111#9093",
        "the WebUI was started as root",
        (f"{UNIT}test_the_unit_is_confined",),
    ),
    Row(
        22,
        "half-made venv after an interrupted install",
        "A1111#2669",
        "the Python environment is incomplete",
        ("e2e/test_webui_releases.py::test_a_killed_apply_leaves_the_running_release_and_the_next_one_finishes",),
    ),
    Row(23, "libGL.so.1 missing", "runpod/containers#8", "a desktop library is missing"),
    Row(
        24,
        "RAM grows until the kernel kills it",
        "A1111#14883",
        "memory ran out and the kernel killed a process",
        (f"{UNIT}test_git_trusts_the_tree_and_memory_is_given_back",),
    ),
    Row(
        25,
        "httpx breaks gradio 3",
        "A1111#13840",
        "httpx is too new for gradio 3",
        (f"{LOCKS}test_gradio_3_gets_an_httpx_that_it_can_use",),
    ),
    Row(
        26,
        "NVML mismatch after unattended-upgrades",
        "homelab#4110",
        "kernel module and programs of the driver differ",
        (
            f"{DRIVER}test_bare_host_gets_a_driver_keeps_it_and_holds_it",
            f"{DRIVER}test_debians_own_unattended_upgrade_leaves_the_driver_alone",
        ),
    ),
    Row(
        27,
        'Blackwell: "No devices were found"',
        "open-gpu-kernel-modules#872",
        "the card needs the open kernel modules",
        (f"{DECISION}test_decision", f"{DECISION}test_packages_by_distribution_and_modules"),
    ),
    Row(
        28,
        "CUDA error 802 on HGX",
        "dstack#2348",
        "the GPUs wait for the fabric manager",
        (
            f"{DECISION}test_nvswitches_ask_for_the_fabric_manager",
            f"{DRIVER}test_old_cards_get_the_proprietary_modules_and_nvswitches_the_fabric_manager",
        ),
    ),
    Row(
        29,
        'a saved "model" is a small JSON or HTML error',
        "civitai#975",
        "a model file is incomplete, or a web page",
        (f"{FETCH}test_refuses_with_the_reason", "roles/models/test_formats.py::test_a_broken_file_gets_no_name"),
    ),
    Row(
        30,
        "AutoDL's system disk is 30 GB",
        "AutoDL's documentation",
        "the disk is full",
        (f"{FETCH}test_too_little_space_is_said_before_anything_is_fetched",),
    ),
)
