"""`python -m autobatch`: the `autobatch` command."""

import sys

from autobatch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
