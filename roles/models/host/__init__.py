"""sdfleet-fetch: brings a host's model store to the state of a manifest. Runs with the host's Python (3.10 or newer),
the standard library and a pickle scanner without dependencies; `roles.models.tool` packs them into one file."""
