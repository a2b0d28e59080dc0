"""`python -m towpath` is the command line, with the working directory first on sys.path."""

from __future__ import annotations

from towpath.cli.main import main

if __name__ == "__main__":
    main()
