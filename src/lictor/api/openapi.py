"""The OpenAPI 3.1 document of a table of routes, made of the very structs that the strict door reads.

Nothing is written twice, so it cannot say something else than the routes do. Refuses to know handlers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from lictor import __version__
from lictor.api.problem import Problem
from lictor.api.web import OPEN, Route

_REF: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (400, 401, 403, 413, 415, 421, 422, 429, 503)
"""Statuses any route may refuse with; 415 only where there is a body."""
_SAID: Final[Mapping[int, str]] = {
    200: "Done",
    201: "Made",
    202: "Taken: people have the word",
    204: "Done",
    400: "The request cannot be read",
    401: "Nobody who is known here",
    403: "Not for you: the route, policy, or a restriction in force",
    404: "There is none, or none of yours",
    409: "Not as things stand",
    410: "Too late",
    413: "Too large",
    415: "Not JSON",
    421: "Another host name",
    422: "A member is unknown, missing or of another type",
    429: "Too many requests without a valid credential",
    503: "Nothing can be recorded now",
}


def document(routes: Sequence[Route], *, url: str, ttl_s: int) -> dict[str, Any]:
    """The document.

    Args:
        routes: the table; rows that are not `described` are left out.
        url: of this server.
        ttl_s: the longest life of a task, by the settings.
    """
    rows = [row for row in routes if row.described]
    types = [type_ for row in rows for type_ in (row.body, row.query, row.answer) if type_ is not None]
    _, components = msgspec.json.schema_components([*dict.fromkeys(types), Problem], ref_template=_REF)
    _bound_ttl(components, ttl_s)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, rows, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lictor",
            "version": __version__,
            "description": "Tasks, and what else people and applications do with a gateway. Agents have no business "
            "here, but for what stands below /access/.",
        },
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if not _is_query(name, rows)},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The secret of an approver or of an enrolled application, or a signed token of theirs",
                },
                "task": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of an agent's task, as at the MCP endpoint",
                },
            },
        },
    }


def _operation(row: Route, rows: Sequence[Route], components: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _id(row),
        "summary": row.summary,
        "parameters": list(_parameters(row, components)),
        "responses": _responses(row, rows),
    }
    if row.who is OPEN:
        found["security"] = [{"task": []}] if row.task_token else []
    if row.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(row.body)}}}
    return found


def _parameters(row: Route, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string", "maxLength": 100}}
        for part in row.path.split("/")
        if part.startswith("{")
    ]
    if row.query is not None:
        schema = components[row.query.__name__]
        for name, property_ in schema["properties"].items():
            found.append({"name": name, "in": "query", "required": name in schema["required"], "schema": property_})
    if row.keyed:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key and the same body find the same task again; its token is shown only once",
                "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
            }
        )
    return found


def _responses(row: Route, rows: Sequence[Route]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in (row.status, *row.also):
        answer: dict[str, Any] = {"description": _SAID[status]}
        if row.answer is not None:
            answer["content"] = {"application/json": {"schema": _ref(row.answer)}}
        if row.makes:
            links = [other for other in rows if f"{{{row.makes}}}" in other.path]
            answer["links"] = {_id(other): _link(other, row.makes) for other in links}
        found[str(status)] = answer
    refusals = row.refuses if row.who is OPEN and not row.task_token else (*_ALWAYS, *row.refuses)
    for status in sorted(set(refusals)):
        if status != 415 or row.body is not None:
            found[str(status)] = {
                "description": _SAID[status],
                "content": {"application/problem+json": {"schema": _ref(Problem)}},
            }
    return found


def _link(row: Route, name: str) -> dict[str, Any]:
    """Where what was made is found again: the member of the answer that has the parameter's name."""
    return {"operationId": _id(row), "parameters": {f"path.{name}": f"$response.body#/{name}"}}


def _ref(type_: Any) -> dict[str, str]:
    return {"$ref": _REF.format(name=type_.__name__)}


def _id(row: Route) -> str:
    words = [part.strip("{}") for part in row.path.split("/")[2:]]
    return "_".join((row.method.lower(), *words)).replace("-", "_").replace(".", "_")


def _is_query(name: str, rows: Sequence[Route]) -> bool:
    return any(row.query is not None and row.query.__name__ == name for row in rows)


def _bound_ttl(components: dict[str, Any], ttl_s: int) -> None:
    """What the settings bound more narrowly than the type."""
    for schema in components.values():
        ttl = schema.get("properties", {}).get("ttl_s")
        if ttl is not None:
            ttl["maximum"] = min(ttl.get("maximum", ttl_s), ttl_s)
