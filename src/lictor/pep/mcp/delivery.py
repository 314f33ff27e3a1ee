"""A granted call on its way to its server: what belongs together from the grant to the reply (steps 7 and 8).

Refuses to know how it is sent, who may stop it and what comes back.
"""

from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, SealedArguments
from lictor.pep.mcp.request import Call, input_responses
from lictor.pep.mcp.seam import Channel, Upstream
from lictor.service.calls.grant import Grant

_NAMED: Final = frozenset({ActionKind.TOOL, ActionKind.PROMPT})
"""Kinds that go by a name, with arguments beside it; of the others the sealed object is the whole of the parameters."""


class Delivery(msgspec.Struct, frozen=True):
    """One granted call.

    Attributes:
        call: what was decided.
        grant: the permission for it, not claimed yet.
        upstream: the connection it goes over.
        channel: the client's end, where notices about it go.
    """

    call: Call
    grant: Grant
    upstream: Upstream
    channel: Channel

    def message(self, sealed: SealedArguments, meta: dict[str, Any]) -> tuple[dict[str, Any], bytes | None]:
        """Parameters of the server's request, and the bytes that stand in them as `arguments`; None: it has none.

        Args:
            sealed: what the grant is for, and nothing else of what the client sent.
            meta: what travels in `_meta`, if anything: `{}` or `{"_meta": …}`.
        """
        call = self.call
        params: dict[str, Any] = dict(meta)
        named = call.request.kind in _NAMED
        if named:
            params["name"] = call.request.name
        else:
            params.update(sealed.open())
        if call.upstream_state is not None:
            params["requestState"] = call.upstream_state
        params.update(input_responses(call.params, call.asked))
        return params, sealed.data if named else None
