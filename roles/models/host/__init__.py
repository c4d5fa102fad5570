"""sdfleet-fetch: brings a host's model store to a manifest. Runs on the host with its own Python (3.10 or newer),
the standard library and a pickle scanner that needs no more; `roles.models.tool` packs all into one file."""
