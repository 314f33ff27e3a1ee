"""Batches of events, each one signed POST. Taken means that a 2xx came back in time.

How a POST is made and signed is handed in, so that there is one way for all of us. It refuses to know TLS and keys.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lictor.service.log.pump import Event

Post = Callable[[str, bytes, Mapping[str, str]], None]
"""URL, body, headers; returns on 2xx, raises `UpstreamError`; bounded in time as a whole."""
Sign = Callable[[str, bytes], Mapping[str, str]]
"""An id that is the same for every try, and the body, to the headers that sign them."""

_TYPES: Final = {
    "cloudevents": "application/cloudevents-batch+json",
    "ocsf": "application/json",
    "lictor": "application/json",
}


class WebhookSink:
    """`lictor.service.log.pump.Sink`."""

    def __init__(self, name: str, url: str, form: str, *, post: Post, sign: Sign) -> None:
        """Of a sink by its name, with the name of its format."""
        self._name, self._url, self._type = name, url, _TYPES[form]
        self._post, self._sign = post, sign

    def send(self, events: Sequence[Event]) -> None:
        """See `Sink.send`. The body is a JSON array, in the order of the log.

        Raises:
            LictorError: it was not taken, or the key is out of reach.
        """
        body = b"[" + b",\n".join(event.data for event in events) + b"]"
        delivery = f"{self._name}-{events[0].seq}-{events[-1].seq}"
        headers = {**self._sign(delivery, body), "Content-Type": self._type}
        self._post(self._url, body, headers)

    def close(self) -> None:
        """Nothing is held between two batches."""
