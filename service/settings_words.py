"""What a setting should be, in words with an example, and variables that are no setting."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["example", "expectation", "unknown_variable", "variable"]

_PREFIX = "OFFPATH_"
_EXAMPLES = {
    "admin_port": "50052",
    "bundle": "runs/bundle",
    "campaign_exempt_principals": '["camera"]',
    "health_port": "50053",
    "principals": "principals.toml",
    "tls_certificate": "cert.pem",
    "tls_client_ca": "ca.pem",
    "tls_key": "key.pem",
    "trace_endpoint": "http://127.0.0.1:4317",
}
"""Of settings whose default shows nothing."""
_SPECIAL = {"trace_endpoint": "http:// or https:// with a host and a port, and no path"}
"""Of settings whose schema is no help to people."""
# Kubernetes gives every pod such names for a service called offpath or offpath-something; with
# them refused, a service of that name would keep pods from starting.
_OF_KUBERNETES = re.compile(
    r"OFFPATH_(?:\w+_)?(?:SERVICE_HOST=|SERVICE_PORT(?:_\w+)?=|PORT(?:_\d+_\w+)?=(?:tcp|udp|sctp)://"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO|PORT|ADDR)=)"
)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{_PREFIX}{name.upper()}"


def expectation(settings: type[BaseModel], name: str) -> str:
    """What a setting should be: ``a whole number, at least 0 and at most 65535``.

    Args:
        settings: The class of all settings.
        name: The setting's.
    """
    schema = settings.model_json_schema()
    words = _SPECIAL.get(name) or _words(schema["properties"][name], schema.get("$defs", {}))
    return f"{words}, such as {example(settings, name)}"


def example(settings: type[BaseModel], name: str) -> str:
    """A value of a setting as a variable holds it.

    Args:
        settings: The class of all settings.
        name: The setting's.
    """
    default = settings.model_fields[name].default
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    if isinstance(default, bool):
        return "true"
    return json.dumps(default) if isinstance(default, tuple) else str(default)


def unknown_variable(environment: Mapping[str, str], names: Iterable[str]) -> str | None:
    """What to tell about the first variable with our prefix that is no setting; None without one.

    Args:
        environment: Names and values of all variables.
        names: Names of all settings.
    """
    known = [variable(name) for name in names]
    for name, value in sorted(environment.items()):
        capitals = name.upper()
        if not capitals.startswith(_PREFIX) or capitals in known:
            continue
        if _OF_KUBERNETES.match(f"{capitals}={value}"):
            continue
        near = difflib.get_close_matches(capitals, known, n=1)
        meant = f"Write {near[0]} if you meant that, or unset it." if near else "Unset it."
        return (
            f"A variable that begins with {_PREFIX} should be a setting. Found {name}, which is "
            f"none. {meant} service/settings.py describes them all."
        )
    return None


def _words(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        field = next(each for each in field["anyOf"] if each.get("type") != "null")
    if "$ref" in field:
        field = definitions[field["$ref"].rpartition("/")[2]]
    if "enum" in field:
        return f"one of {', '.join(field['enum'])}"
    match field["type"]:
        case "array":
            return f"a JSON list, each item {_words(field['items'], definitions)}"
        case "boolean":
            return "true or false"
        case "integer":
            return "a whole number" + _bounds(field)
        case "number":
            return "a finite number" + _bounds(field)
        case _:
            return "a path" if field.get("format") == "path" else "a text"


def _bounds(field: Mapping[str, Any]) -> str:
    named = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    bounds = [f"{words} {field[key]:g}" for key, words in named.items() if key in field]
    return f", {' and '.join(bounds)}" if bounds else ""
