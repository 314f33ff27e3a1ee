"""Sinks by their settings. What makes and signs a POST comes from whoever wires them."""

from pathlib import Path

from lictor.service.log.pump import Sink
from lictor.sinks.file import FileSink
from lictor.sinks.settings import SinkSettings
from lictor.sinks.syslog import SyslogSink
from lictor.sinks.webhook import Post, Sign, WebhookSink


def sink_of(name: str, settings: SinkSettings, path: Path, *, post: Post, sign: Sign) -> Sink:
    """One sink. Nothing is opened yet.

    Args:
        name: of the sink.
        settings: its own.
        path: of a file sink's file.
        post: makes a POST.
        sign: signs it with the sink's key.
    """
    match settings.kind:
        case "file":
            return FileSink(path, rotate_bytes=settings.rotate_bytes, rotate_keep=settings.rotate_keep)
        case "webhook":
            return WebhookSink(name, settings.url, settings.format, post=post, sign=sign)
        case "syslog":
            return SyslogSink(settings.address, settings.ca_file)
