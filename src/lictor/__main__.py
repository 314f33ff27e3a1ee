"""`python -m lictor`."""

import sys

if __name__ == "__main__":
    from lictor.cli.main import main

    sys.exit(main())
