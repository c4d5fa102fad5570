"""Entry for pyinfra's own command line: pyinfra inventory/fleet.py deploy/site.py."""

from deploy.roles import apply_roles

apply_roles()
