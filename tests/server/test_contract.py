"""What the OpenAPI document allows, and what it does not: answers are as described, and none is a fault of the server.

`make test-contract` asks 20,000 times, by schemathesis, over a real connection; here a few values of each type.
"""

from __future__ import annotations

import random

import jsonschema
import pytest

VALUES = {
    "string": ["", "a", "x" * 300, "\x00", "\ud7ff\U0001f600", "../../etc/passwd", "%2e%2e", "' OR 1=1 --", "-1"],
    "integer": [0, 1, -1, 2**31, 2**63, 2**64, 10**30, True, 1.5],
    "number": [0, 0.5, -1.0, 1e308, 3600, 2**70],
    "boolean": [True, False, "no"],
    "null": [None],
}
ODD = [None, [], {}, "x", 5, [[[]]], {"a": {"b": [1]}}]


class Chance:
    """Values of a schema, most of them valid."""

    def __init__(self, schemas, seed):
        self.schemas, self.random = schemas, random.Random(seed)

    def value(self, schema, depth=0):
        if self.random.random() < 0.1:
            return self.random.choice(ODD)
        if "$ref" in schema:
            return self.value(self.schemas[schema["$ref"].rsplit("/", 1)[1]], depth)
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self.value(self.random.choice(schema[several]), depth)
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        if schema.get("type") == "object":
            names = schema.get("properties", {})
            given = [name for name in names if name in schema.get("required", ()) or self.random.random() < 0.5]
            found = {name: self.value(names[name], depth + 1) for name in given}
            if not names or schema.get("additionalProperties"):
                found[self.random.choice(VALUES["string"])] = self.random.choice(ODD)
            return found
        if schema.get("type") == "array":
            most = 0 if depth > 4 else 2
            items = schema.get("items", {"type": "string"})
            return [self.value(items, depth + 1) for _ in range(self.random.randint(0, most))]
        return self.random.choice(VALUES.get(schema.get("type"), ODD))


def operations(document):
    return [(path, method, one) for path, entry in document["paths"].items() for method, one in entry.items()]


def described(document, operation, answer):
    """Check an answer against what the document says of it."""
    told = operation["responses"].get(str(answer.status_code), operation["responses"].get("default"))
    assert told is not None, answer.status_code
    kind = answer.headers.get("content-type", "").partition(";")[0]
    assert kind in told.get("content", {}) or not answer.content, (kind, list(told.get("content", {})))
    if answer.content and kind.endswith("json"):
        schema = {**told["content"][kind].get("schema", {}), "components": document["components"]}
        jsonschema.validate(answer.json(), schema)


KEPT = ("/auth/logout", "/auth/password", "/events/stream")
KNOWN = {"get": 12, "post": 12, "put": 12, "patch": 8, "delete": 4}


@pytest.mark.some(2)
@pytest.mark.parametrize("seed", range(6))
def test_answers_are_as_described(demo, seed):
    document = demo.web["root"].get("/openapi.json").json()
    chance = Chance(document["components"]["schemas"], seed)
    ids = {"project": demo.id, "descriptor": demo.descriptor, "layer": demo.layers["cells"], "name": demo.descriptor}
    statuses = set()
    for path, method, operation in operations(document):
        if path.endswith(KEPT):
            continue
        who = chance.random.choice(["owner", "root", "annotator", "stranger"])
        if method == "delete" and path.endswith(("/{project}", "/users/{user}")):
            who = "stranger"
        for _ in range(KNOWN[method] // 4):
            asked, query, headers = path.removeprefix("/api/v1"), {}, {}
            for one in operation.get("parameters", ()):
                value = chance.value(one["schema"])
                if one["in"] == "path":
                    known = ids.get(one["name"]) if chance.random.random() < 0.8 else None
                    asked = asked.replace(f"{{{one['name']}}}", str(known or value or "x").replace("/", "%2F"))
                elif one["name"] != "wait" and (one.get("required") or chance.random.random() < 0.4):
                    where = query if one["in"] == "query" else headers
                    where[one["name"]] = str(value).encode("ascii", "replace").decode().replace("\x00", "0")
            body = operation.get("requestBody", {}).get("content", {})
            sent = {}
            if "application/json" in body:
                sent = {"json": chance.value(body["application/json"]["schema"])}
            elif body:
                sent = {"content": bytes(chance.random.randrange(256) for _ in range(chance.random.choice((0, 9, 99))))}
            asked = asked.encode("ascii", "replace").decode().replace("\x00", "%00").replace("?", "%3F")
            answer = demo.web[who].request(method, asked, params=query, headers=headers, **sent)
            assert answer.status_code < 500, (method, asked, query, sent, answer.text)
            described(document, operation, answer)
            statuses.add(answer.status_code)
    assert {200, 404, 422} <= statuses
