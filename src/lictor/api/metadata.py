"""What a client finds when it looks for its way: RFC 9728 (this resource) and RFC 8414 (the built-in token service).

Only what is configured is announced; nothing is fetched, and no metadata of anybody else is passed on (case OAUT-17).
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lictor.api.oauth import AUTHORIZE, JWKS, REVOKE, TOKEN
from lictor.api.web import OPEN, Route
from lictor.protocol.jose.algs import DEFAULT_ALGS
from lictor.protocol.oauth.details import TYPE
from lictor.protocol.oauth.request import GRANTS

RESOURCE: Final = "/.well-known/oauth-protected-resource"
SERVER: Final = "/.well-known/oauth-authorization-server"
_MCP: Final = "/mcp"


def resource_metadata(
    public_url: str, audience: str, servers: Sequence[str], *, client_certificates: bool
) -> dict[str, Any]:
    """RFC 9728 2: what this resource is and who issues tokens for it.

    Args:
        public_url: ours, and the token service's issuer.
        audience: the MCP endpoint.
        servers: external authorisation servers whose tokens are accepted; they come first: a client without a workload identity
            can only go there.
        client_certificates: whether our TLS layer asks for them.
    """
    return {
        "resource": audience,
        "authorization_servers": [*servers, public_url],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(DEFAULT_ALGS),
        "dpop_bound_access_tokens_required": False,
        "tls_client_certificate_bound_access_tokens": client_certificates,
        "authorization_details_types_supported": [TYPE],
        "resource_name": "Lictor",
    }


def server_metadata(public_url: str, *, client_certificates: bool) -> dict[str, Any]:
    """RFC 8414 2: the built-in token service."""
    methods = ["none", "private_key_jwt", *(["tls_client_auth"] if client_certificates else [])]
    return {
        "issuer": public_url,
        "token_endpoint": f"{public_url}{TOKEN}",
        # Required by clients' readers although nothing goes there; it refuses everybody.
        "authorization_endpoint": f"{public_url}{AUTHORIZE}",
        "jwks_uri": f"{public_url}{JWKS}",
        "revocation_endpoint": f"{public_url}{REVOKE}",
        "response_types_supported": [],
        "grant_types_supported": list(GRANTS),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": list(DEFAULT_ALGS),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": list(DEFAULT_ALGS),
        "authorization_details_types_supported": [TYPE],
        "tls_client_certificate_bound_access_tokens": client_certificates,
    }


def metadata_routes(
    public_url: str, audience: str, servers: Sequence[str], *, client_certificates: bool
) -> list[Route]:
    """Rows for `api.web`."""
    resource = msgspec.json.encode(
        resource_metadata(public_url, audience, servers, client_certificates=client_certificates)
    )
    server = msgspec.json.encode(server_metadata(public_url, client_certificates=client_certificates))
    return [
        _row(RESOURCE, resource, "What the MCP endpoint accepts (RFC 9728)."),
        _row(f"{RESOURCE}{_MCP}", resource, "The same, where the endpoint's path says it is."),
        _row(SERVER, server, "The built-in token service (RFC 8414)."),
    ]


def _row(path: str, body: bytes, summary: str) -> Route:
    async def raw(_: Request) -> Response:
        return Response(body, media_type="application/json", headers={"Cache-Control": "max-age=60"})

    return Route(method="GET", path=path, who=OPEN, summary=summary, raw=raw, described=False)
