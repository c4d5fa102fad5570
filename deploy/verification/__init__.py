"""`sdfleet verify`: the roles' checks on hosts, run by pytest."""
