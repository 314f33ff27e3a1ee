"""Everything else, e-mail among it, by Apprise: an optional library with some hundred services behind URLs.

Apprise logs what it sends and to whom; its loggers are silenced here, since its URL holds a password.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.service.people.notify import Notice


class Apprise:
    """Tells one Apprise URL."""

    def __init__(self, url: Callable[[], Awaitable[Secret]]) -> None:
        self._url = url
        self._busy = threading.Lock()

    async def send(self, notice: Notice) -> None:
        """See `Channel.send`."""
        try:
            import apprise  # noqa: PLC0415 - an extra, and slow to load
        except ImportError:
            raise UpstreamError(
                Reason.UPSTREAM_DOWN,
                "Apprise is not installed",
                effect_possible=False,
                remedy="pip install 'lictor[notify]'",
            ) from None
        logging.getLogger("apprise").disabled = True
        url = (await self._url()).reveal()

        def told() -> bool:
            service = apprise.Apprise()
            text = f"{notice.text}\n\n{notice.url}"
            return service.add(url) and bool(
                service.notify(title=notice.title, body=text, body_format=apprise.NotifyFormat.TEXT)
            )

        if not await self._aside(told):
            raise UpstreamError(Reason.UPSTREAM_DOWN, "Apprise could not deliver it", effect_possible=True)

    async def _aside(self, told: Callable[[], bool]) -> bool:
        """In a thread of its own, one at a time: nobody else's work, and no end of the process, waits for a service that hangs.

        Raises:
            UpstreamError: it hangs still.
        """
        if not self._busy.acquire(blocking=False):
            raise UpstreamError(Reason.UPSTREAM_DOWN, "an earlier delivery hangs still", effect_possible=False)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def settle(found: bool | Exception) -> None:
            if done.cancelled():
                return
            if isinstance(found, Exception):
                done.set_exception(found)
            else:
                done.set_result(found)

        def work() -> None:
            found: bool | Exception
            try:
                found = told()
            except Exception as error:  # noqa: BLE001 - whatever a service's plug-in raises is told to who waits
                found = error
            self._busy.release()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=work, name="apprise", daemon=True).start()
        return await done
