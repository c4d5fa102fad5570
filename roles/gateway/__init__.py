"""Gateway role: TLS and a login in front of a host's services, so that they can be reached from outside."""
