"""The stand-in WebUI: test furniture of sdfleet's lab."""
