"""`python -m cgoom` is `cgoom`."""

from __future__ import annotations

import sys

from cgoom.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
