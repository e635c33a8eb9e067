"""``python -m daskhpo``: the command line."""

from __future__ import annotations

from daskhpo.cli import main

if __name__ == "__main__":
    main()
