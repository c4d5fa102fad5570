"""Run one of sdfleet's programs: onhost.pyz NAME ARGUMENTS."""

import os
import sys
from importlib import import_module

if __name__ == "__main__":
    # An update leads the link that was called to another archive, perhaps while this program still imports.
    sys.path[0] = os.path.realpath(sys.path[0])
    import_module(f"roles.onhost.{sys.argv.pop(1)}").main()
