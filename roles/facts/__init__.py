"""pyinfra facts that roles are built from."""
