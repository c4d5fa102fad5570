"""The system users that services run as; each one's home is its application's data folder."""

WEBUI = "sdwebui"
TRAINER = "sdtrain"
CACHE = "sdcache"
"""The caching proxy's user; its role makes it, on its one host."""
LORA_SCRIPTS = "sdlora"

HOMES = {WEBUI: "webui", TRAINER: "trainer", LORA_SCRIPTS: "lora_scripts"}
"""User -> application, as Paths.data names it."""
