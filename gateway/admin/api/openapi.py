"""Makes the OpenAPI 3.1 document of the admin API from its routes and message types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http.client import responses
from typing import Any, Final

import msgspec

from gateway import __version__
from gateway.admin.api.call import AdminRoute
from gateway.admin.api.routes import BASE

_REF: Final = "#/components/schemas/{name}"
_PLACEHOLDER: Final = re.compile(r"{(\w+)}")


class ErrorDetail(msgspec.Struct):
    """Describes what is wrong: a sentence for people, a code for programs, the member's path."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(msgspec.Struct):
    """Describes the body of every answer that is an error."""

    error: ErrorDetail


def document(routes: Iterable[AdminRoute]) -> dict[str, Any]:
    """Return the document as plain data, with one operation for each route."""
    listed = list(routes)
    types: list[type] = [ErrorAnswer]
    for route in listed:
        types += [kind for kind in (route.query, route.body, route.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components(
        list(dict.fromkeys(types)), ref_template=_REF
    )
    references = dict(zip(dict.fromkeys(types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        path = paths.setdefault(BASE + route.path, {})
        path[route.method.lower()] = _operation(route, references, components)
    queries = {kind.__name__ for kind in types} - {
        kind.__name__ for route in listed for kind in (route.body, route.answer) if kind
    }
    for name in queries - {ErrorAnswer.__name__}:
        components.pop(name, None)  # it is written out as parameters
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fitten-gateway admin API",
            "version": __version__,
            "description": "Times are milliseconds since 1970 (UTC). Unknown members are mistakes.",
        },
        "security": [{"adminKey": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "adminKey": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-fg"},
            },
        },
    }


def _operation(
    route: AdminRoute, references: dict[type, Any], components: dict[str, Any]
) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PLACEHOLDER.findall(route.path)
    ]
    query = components.get(route.query.__name__, {})
    required = query.get("required", ())
    for name, schema in query.get("properties", {}).items():
        parameters.append(
            {"name": name, "in": "query", "required": name in required, "schema": schema}
        )
    if route.versioned:
        parameters.append(_header("If-Match", {"type": "string", "pattern": '^"?[0-9]{1,15}"?$'}))
    if route.idempotent:
        key = {"type": "string", "pattern": "^[!-~]{1,200}$"}
        parameters.append(_header("Idempotency-Key", key))
    good = [one for one in (route.status, route.repeat_status) if one is not None]
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {str(status): _good(route, status, references) for status in good}
        | {str(status): _bad(status) for status in _errors(route)},
    }
    if route.role is None:
        operation["security"] = []
    else:
        operation["description"] = f"Needs the role `{route.role}` or a higher one."
    if route.body is not None:
        fields = msgspec.structs.fields(route.body)
        operation["requestBody"] = {
            # An absent body is an empty object.
            "required": any(field.required for field in fields),
            "content": {"application/json": {"schema": references[route.body]}},
        }
    return operation


def _operation_id(route: AdminRoute) -> str:
    words = re.findall(r"[a-z]+", route.path.replace("openapi.json", "openapi"))
    return "-".join([route.method.lower(), *words])


def _header(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _good(route: AdminRoute, status: int, references: dict[type, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": references[route.answer]}
    if route.media_type is not None:
        content.setdefault(route.media_type, {})
    answer: dict[str, Any] = {"description": responses[status]}
    return answer | ({"content": content} if content else {})


def _bad(status: int) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=ErrorAnswer.__name__)}
    return {
        "description": responses[status],
        "content": {"application/json": {"schema": schema}},
    }


def _errors(route: AdminRoute) -> list[int]:
    """Return the statuses that an error of this route can have."""
    found = {400, 401, 403, 408, 413, 415, 421, 429, 503, *route.errors}
    # A repeated request is answered with what it has made, and that may be deleted by now.
    if "{" in route.path or route.idempotent:
        found.add(404)
    if route.versioned:
        found.add(412)
    return sorted(found)
