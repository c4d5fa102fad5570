"""The system users that services run as; each one's home is its application's data folder."""

WEBUI = "sdwebui"
TRAINER = "sdtrain"
CACHE = "sdcache"
"""The caching proxy's user; its role makes it, on its one host."""
LORA_SCRIPTS = "sdlora"

HOMES = {WEBUI: "webui", TRAINER: "trainer", LORA_SCRIPTS: "lora_scripts"}
"""User -> application, as Paths.data names it."""

SHARED_HOMES = frozenset({WEBUI, LORA_SCRIPTS})
"""Users whose home is root's, with the sticky bit (SHARED): root makes names there, and mounts what bears them."""
SHARED = 0o1775
"""Mode of a folder of root's where a service, by its group, adds names of its own and can't touch root's."""
