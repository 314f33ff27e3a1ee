"""Wires everything; the only part that knows all the others. One module for each noun, and no module imports this one.

`house` is what an operator's command needs, with no server running; `runtime` is the live side. What serves HTTP imports `web`
and `listen` itself: nobody else pays for them.
"""

from lictor.app.house import House, bundle_path, check_engine, open_house
from lictor.app.notices import warn
from lictor.app.runtime import Runtime
from lictor.app.servers import HttpPool, connect_server, servers_of

__all__ = [
    "House",
    "HttpPool",
    "Runtime",
    "bundle_path",
    "check_engine",
    "connect_server",
    "open_house",
    "servers_of",
    "warn",
]
