"""What OCSF 1.9 added to 1.8, as far as our events use it, as a JSON Schema of our own: no package carries that version's schema.

Written from the specification's words (profiles `record_integrity` and `ai_operation`; objects `ai_agent`, `attestation`,
`fingerprint`). Where it is narrower than the specification it says so: what we promise is that part.
"""

import functools
from typing import Any, Final

import jsonschema_rs

FINDINGS: Final = 2004
"""The only class of ours that `ai_operation` is not for; `record_integrity` and `security_control` are for every class."""
_TEXT: Final = {"type": "string", "minLength": 1}


def _captioned(name: str, captions: dict[int, str]) -> list[dict[str, Any]]:
    """An id that is one of these, its caption beside it if there is one."""
    rows = [{"properties": {f"{name}_id": {"const": key}, name: {"const": text}}} for key, text in captions.items()]
    return [{"anyOf": rows}]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_ENCODINGS: Final = {0: "Unknown", 1: "Hex", 2: "Base64", 3: "Base64URL"}
_SERIALIZATIONS: Final = {0: "Unknown", 1: "Flat", 2: "JCS", 3: "JWS", 4: "COSE", 5: "DSSE"}

_FINGERPRINT: Final = {
    **_object(
        algorithm=_TEXT,
        algorithm_id={"const": 3},  # narrower: SHA-256 is what we use
        value={"type": "string", "pattern": "^[0-9a-f]{64}$"},  # narrower: in hex
        encoding=_TEXT,
        encoding_id={"enum": list(_ENCODINGS)},
        serialization=_TEXT,
        serialization_id={"enum": list(_SERIALIZATIONS)},
    ),
    # Narrower: whoever does not say how it was made has a fingerprint that nobody can check.
    "required": ["algorithm_id", "value", "encoding_id", "serialization_id"],
    "allOf": [*_captioned("encoding", _ENCODINGS), *_captioned("serialization", _SERIALIZATIONS)],
}
_ATTESTATION: Final = {
    **_object(
        uid=_TEXT,
        authority_uid=_TEXT,
        chain_uid=_TEXT,
        fingerprint=_FINGERPRINT,
        # Narrower: ours are not signed (the log's checkpoints are), and the chain is the log's own tree.
    ),
    "required": ["fingerprint"],
}
_AGENT: Final = {
    **_object(
        uid=_TEXT, name=_TEXT, instance_uid=_TEXT, version=_TEXT, type=_TEXT, type_id={"enum": [0, 1, 2, 3, 4, 99]}
    ),
    "anyOf": [{"required": ["uid"]}, {"required": ["name"]}],
}
_PROFILES: Final = {
    "type": "array",
    "items": {"enum": ["ai_operation", "record_integrity", "security_control"]},
    "uniqueItems": True,
    "contains": {"const": "record_integrity"},
}
_HAS_AGENT: Final = {"properties": {"metadata": {"properties": {"profiles": {"contains": {"const": "ai_operation"}}}}}}
_IS_FINDING: Final = {"properties": {"class_uid": {"const": FINDINGS}}}

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "metadata": {
            "properties": {"version": {"const": "1.9.0"}, "profiles": _PROFILES},
            "required": ["version", "profiles"],
        },
        "ai_agent": _AGENT,
        "attestation_list": {"type": "array", "minItems": 1, "items": _ATTESTATION},
        "raw_data_hash": _FINGERPRINT,
    },
    "required": ["metadata", "attestation_list", "raw_data_hash"],
    "allOf": [
        {"if": _HAS_AGENT, "then": {"required": ["ai_agent"]}, "else": {"not": {"required": ["ai_agent"]}}},
        {"if": _IS_FINDING, "then": {"not": {"required": ["ai_agent"]}}},
    ],
}


@functools.cache
def validator() -> Any:
    """Of whole events."""
    return jsonschema_rs.validator_for(SCHEMA)


def without(event: dict[str, Any]) -> dict[str, Any]:
    """The event without what `SCHEMA` speaks of, for a schema of 1.8. `event` is changed; it is returned."""
    event.pop("ai_agent", None)
    event.pop("attestation_list")
    event["metadata"]["profiles"].remove("record_integrity")
    for member in ("encoding", "encoding_id", "serialization", "serialization_id"):
        del event["raw_data_hash"][member]
    return event
