"""A signature from a command of the operator's: a KMS, a hardware token. Refuses to know what is signed.

The message on standard input, the signature in base64 on standard output; no shell, bounded in time. What it writes to standard
error is thrown away.
"""

import asyncio
import contextlib
import os
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import Final

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason

COMMAND_S: Final = 15.0
MAX_ANSWER: Final = 4_096
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "USER")
_PREFIXES: Final = ("AWS_", "VAULT_", "GOOGLE_", "AZURE_")


async def run_signer(command: Sequence[str], message: bytes) -> bytes:
    """What the command signed the message with.

    Raises:
        StoreError: `cannot_record`: it cannot be started, failed, was late, or wrote no base64.
    """
    env = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PREFIXES)}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=env,
        )
    except OSError as error:
        raise _failed(f"cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(COMMAND_S):
            answer, _ = await process.communicate(message)
    except TimeoutError:
        raise _failed("was late") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise _failed(f"ended with status {process.returncode}")
    try:
        return b64decode(answer[:MAX_ANSWER].strip(), validate=True)
    except (Base64Error, ValueError):
        raise _failed("did not write base64") from None


def _failed(what: str) -> StoreError:
    return StoreError(Reason.CANNOT_RECORD, f"the command that signs {what}")
