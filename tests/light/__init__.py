"""A fleet of eight hosts that two cores can carry: a WebUI of one file, without torch, under the roles as they are."""
