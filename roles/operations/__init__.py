"""pyinfra operations that roles are built from."""
