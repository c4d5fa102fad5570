"""Gateway role: TLS and a login in front of the services of a host, so that others than the host itself reach them."""
