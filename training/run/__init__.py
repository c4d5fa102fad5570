"""A run from its start to its record, and a run made again from one."""
