"""What must be known of a server's result before it goes on; its bytes stay as they are. Refuses to know what they mean."""

from typing import Any, Final

import msgspec


class ResultFlags(msgspec.Struct):
    """Read whatever their types are: a mistyped member must not make the other one unread."""

    isError: Any = False  # noqa: N815 - the wire's name
    resultType: Any = msgspec.UNSET  # noqa: N815 - the wire's name


_FLAGS: Final = msgspec.json.Decoder(ResultFlags)


def flags_of(body: bytes) -> ResultFlags:
    """The flags; of what cannot be read, those that let nothing through."""
    try:
        return _FLAGS.decode(body)
    except msgspec.MsgspecError:
        return ResultFlags(isError=True, resultType=None)


def as_modern(result: bytes) -> bytes:
    """A result as a modern client must see it: `resultType` added in front where a legacy server left it out."""
    if b'"resultType"' in result and "resultType" in msgspec.json.decode(result):
        return result
    body = result.lstrip()
    rest = body[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"resultType":"complete"' + comma + rest
