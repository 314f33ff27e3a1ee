"""The one form of a value, by kind: two spellings are one value only where everybody agrees that they are.

What has no certain form has none, and a value without a form comes from nowhere: the strict reading. Nothing is decoded:
percent escapes, base64, quoted-printable and HTML entities stand as they are. Refuses to know where a value was found.
"""

import re
import unicodedata
from typing import Any, Final

from lictor.model.errors import CallerError
from lictor.pdp.normalise.account import iban
from lictor.pdp.normalise.hosts import read_host

KINDS: Final = ("email", "url", "host", "account", "path", "number", "text")
"""In the order in which they are kept, should there be too many: the sure ones first."""
MAX_TEXT: Final = 200
"""Characters of a text value: longer ones are prose, and prose is not compared."""
_MAX_WRITTEN: Final = 4 * MAX_TEXT
"""... as it is written, with marks apart and blanks: normal form takes time by the square of the marks in a row."""
MAX_FORM: Final = 2_048
"""Characters of any other value."""

_MAIL: Final = re.compile(r"(?![-.])((?:[A-Za-z0-9_+'=&#~^-]|\.(?![.@]))+)(?<!\.)@([^@\s]+)", re.ASCII)
_MAX_LOCAL: Final = 64
_MAX_ADDRESS: Final = 254
_PLAIN_HOST: Final = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII
)
_URL: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.\-]{0,30})://(\[[0-9A-Fa-f:.]+\]|[^/?#\\@%:\[\]\x00-\x20\x7f]+)(?::([0-9]{1,5}))?"
    r"((?:[/?#][^\x00-\x20\x7f]*)?)",
)
_PORTS: Final = {"http": "80", "https": "443", "ftp": "21", "ws": "80", "wss": "443"}
MIN_ACCOUNT: Final = 6
_ACCOUNT: Final = re.compile(r"(?=[^0-9]*[0-9])[A-Za-z0-9][A-Za-z0-9._:/+-]{5,127}", re.ASCII)
"""A declared identifier, compared as it stands: six characters or more, a digit among them."""
_COMMAS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?", re.ASCII)
_DOTS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}|[0-9]{1,3}(?:\.[0-9]{3}){2,}", re.ASCII)
_POINT: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)
_COMMA: Final = re.compile(r"(?:0|[1-9][0-9]*),(?:[0-9]{1,2}|[0-9]{4,})", re.ASCII)
_UNSURE: Final = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}", re.ASCII)
"""`1.500` is one and a half to some and fifteen hundred to others."""
_MAX_NUMBER: Final = 40
_MONEY: Final = "$€£¥₹#"


def form_of(kind: str, value: Any) -> str | None:
    """The form of one JSON value as a kind; None when it has none.

    Args:
        value: a string, or for `number` an integer or a float too. Booleans have no form.
    """
    if isinstance(value, str):
        return text_form(kind, value)
    if kind == "number" and not isinstance(value, bool) and isinstance(value, int | float):
        return _json_number(value)
    return None


def text_form(kind: str, text: str) -> str | None:
    """The form of a string as a kind; None when it has none."""
    if len(text) > MAX_FORM:
        return None
    match kind:
        case "text":
            return plain(text)
        case "email":
            return email(text)
        case "url":
            return url(text)
        case "host":
            return host_of(text)
        case "account":
            return account(text)
        case "path":
            return path(text)
        case "number":
            return number(text)
        case _:
            return None


def plain(text: str) -> str | None:
    """Text by itself: Unicode NFC, blanks folded, nothing else. Case, zero-width and look-alike characters count."""
    if len(text) > _MAX_WRITTEN:
        return None
    folded = " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())
    return folded if 0 < len(folded) <= MAX_TEXT else None


def email(text: str) -> str | None:
    """A plain address in lower case: mail hosts agree that case does not count (as `normalise.mail` has it)."""
    match = _MAIL.fullmatch(text)
    if match is None or len(text) > _MAX_ADDRESS or len(match[1]) > _MAX_LOCAL:
        return None
    host = _host(match[2])
    if host is None or "." not in host or host.startswith("[") or host[-1].isdigit() or match[2].endswith("."):
        return None
    return f"{match[1].lower()}@{host}"


def url(text: str) -> str | None:
    """A whole absolute URL: scheme, host and default port have one spelling; what follows is compared as it stands."""
    parts = _parts(text)
    if parts is None:
        return None
    scheme, host, port, rest = parts
    shown = f"{host}:{port}" if port and port != _PORTS.get(scheme) else host
    return f"{scheme}://{shown}{rest if rest.startswith('/') else f'/{rest}'}"


def host_of(text: str) -> str | None:
    """The host of a URL, or a bare host. A host is never the value of a whole URL, nor the other way round."""
    if "://" in text:
        parts = _parts(text)
        return None if parts is None else parts[1]
    host = _host(text)
    return host if host is not None and ("." in host or host.startswith("[")) else None


def account(text: str) -> str | None:
    """An IBAN without blanks, or a plain identifier as it stands."""
    found = iban(text)
    if found is not None:
        return found
    return text if _ACCOUNT.fullmatch(text) is not None and "://" not in text else None


def path(text: str) -> str | None:
    """A path as it is written; `./` in front and `/` behind do not count, and one that climbs (`..`) has no form."""
    named = unicodedata.normalize("NFC", text.strip())
    if not named or any(char < " " or char == "\x7f" for char in named) or "://" in named or len(named) > MAX_FORM:
        return None
    if ".." in re.split(r"[\\/]", named):
        return None
    while named.startswith("./"):
        named = named[2:].lstrip("/")
    return (named.rstrip("/") or "/") if named else None


def number(text: str) -> str | None:
    """A number in its shortest decimal form. Only ASCII digits; a form that two readers could read differently has none."""
    text = text.strip()
    sign = ""
    if text[:1] in {"-", "+"}:
        sign, text = ("-" if text[0] == "-" else ""), text[1:]
    if not 0 < len(text) <= _MAX_NUMBER:
        return None
    if _COMMAS.fullmatch(text):
        text = text.replace(",", "")
    elif _DOTS.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    elif _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    elif _POINT.fullmatch(text) is None or _UNSURE.fullmatch(text):
        return None
    if text[0] == "0" and text[1:2] not in {"", "."}:
        return None
    return _signed(sign, text)


def written_number(text: str) -> str | None:
    """A number as prose has it: with a currency sign or `#` before it, or a currency sign behind it."""
    bare = text.strip(_MONEY) if text[:1] in _MONEY or text[-1:] in _MONEY else text
    return number(bare) if bare and len(text) - len(bare) <= 1 else None


def _json_number(value: float) -> str | None:
    """By its canonical text, which is what is sent on (RFC 8785 3.2.2.3); an exponent has no form."""
    text = repr(value)
    sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    return _signed(sign, text) if len(text) <= _MAX_NUMBER and _POINT.fullmatch(text) else None


def _signed(sign: str, text: str) -> str:
    shown = text.rstrip("0").rstrip(".") if "." in text else text
    return shown if shown == "0" else sign + shown


def _parts(text: str) -> tuple[str, str, str, str] | None:
    match = _URL.fullmatch(text) if len(text) <= MAX_FORM else None
    host = _host(match[2]) if match is not None else None
    if match is None or host is None:
        return None
    port = match[3] or ""
    return match[1].lower(), host, str(int(port)) if port else "", match[4]


def _host(raw: str) -> str | None:
    """One spelling for each host. The quick way is only for what has just one reading."""
    lowered = raw.lower() if raw.isascii() else raw
    if _PLAIN_HOST.fullmatch(lowered) and "xn--" not in lowered:
        return lowered
    try:
        return read_host(raw, "").name
    except CallerError:
        return None
