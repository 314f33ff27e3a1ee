"""Users of this machine, as records name them: `os:NAME`. What the system says of them, not what the environment does.

It refuses to know what they may do.
"""

import os
import sys
from pathlib import Path
from typing import Final

UNKNOWN: Final = "os:unknown"
"""Where the system cannot say."""

if sys.platform == "win32":
    import getpass

    def process_user() -> str:
        """Who this process runs as."""
        try:
            return f"os:{getpass.getuser()}"
        except (OSError, KeyError, ImportError):
            return UNKNOWN

else:
    import pwd

    def process_user() -> str:
        """Who this process runs as: its effective user, by number where that has no name."""
        number = os.geteuid()
        try:
            return f"os:{pwd.getpwuid(number).pw_name}"
        except KeyError:
            return f"os:{number}"


def owner_of(path: Path) -> str:
    """Who owns a file: as much as a folder tells of who wrote it.

    Raises:
        OSError: it is not there.
    """
    try:
        return f"os:{path.owner()}"
    except NotImplementedError:
        return UNKNOWN
    except KeyError:
        return f"os:{path.stat().st_uid}"
