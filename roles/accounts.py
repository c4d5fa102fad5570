"""The system users that services run as; each one's home is its application's data folder."""

WEBUI = "sdwebui"
COMFYUI = "sdcomfyui"
TRAINER = "sdtrain"
CACHE = "sdcache"
"""The caching proxy's user, created by its role."""
LORA_SCRIPTS = "sdlora"
GATEWAY = "sdgateway"
"""The gateway's user on hosts without systemd, which elsewhere makes one while it runs; owns no file that lasts."""
SANDBOX = "sdsandbox"
"""Who runs code of strangers on hosts without systemd, which elsewhere makes a user for each time; owns nothing."""

HOMES = {WEBUI: "webui", COMFYUI: "comfyui", TRAINER: "trainer", LORA_SCRIPTS: "lora_scripts"}
"""User -> application, as in Paths.data."""

SHARED_HOMES = frozenset({WEBUI, COMFYUI, LORA_SCRIPTS})
"""Users whose home belongs to root and has the sticky bit (SHARED): root creates and mounts folders there."""
SHARED = 0o1775
"""Mode of a folder of root's in which a service, by its group, may create files but not change root's."""
