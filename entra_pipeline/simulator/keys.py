"""Finding one object: by id, by user principal name, by alternate key.

Segments such as `users/{id}`, `users('{id}')` and `servicePrincipals(appId='...')`.
"""

import re

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import bad_request
from entra_pipeline.simulator.model import EntitySet
from entra_pipeline.simulator.wire import JsonObject

GUID = re.compile(r"^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")


def by_key(directory: Directory, entity_set: EntitySet, key: str) -> JsonObject | None:
    """The object with the id (for users also: the user principal name); None if there is none.

    Raises GraphError 400 where an id must be a GUID and is not.
    """
    if entity_set.rows is not None:
        return next((row for row in entity_set.rows(directory) if row["id"] == key), None)
    objects = directory.collection(entity_set.collection)
    found = objects.get(key)
    if found is not None:
        return found
    if entity_set.type == "user" and not GUID.match(key):
        return by_alternate(directory, entity_set, "userPrincipalName", key)
    if GUID.match(key):
        return objects.get(key.lower())
    if (
        entity_set.is_directory
        and entity_set.delta
        and entity_set.type != ("oAuth2PermissionGrant")
    ):
        raise bad_request(f"Invalid object identifier '{key}'.")
    return None


def by_keyed_segment(directory: Directory, entity_set: EntitySet, key: str) -> JsonObject | None:
    """The object that the text between a segment's parentheses names.

    Raises GraphError 400 for a key that the set does not have.
    """
    name, equals, value = key.partition("=")
    if not equals or "'" in name:
        return by_key(directory, entity_set, unquote_key(key))
    if name == "id":
        return by_key(directory, entity_set, unquote_key(value))
    if name not in entity_set.keys:
        raise bad_request(f"The key '{name}' does not identify a {entity_set.type}.", "BadRequest")
    return by_alternate(directory, entity_set, name, unquote_key(value))


def by_alternate(
    directory: Directory, entity_set: EntitySet, name: str, value: str
) -> JsonObject | None:
    """The object whose property has the value, without regard to case."""
    if entity_set.rows is not None:
        rows = entity_set.rows(directory)
        return next((row for row in rows if row.get(name) == value), None)

    def build() -> dict[str, JsonObject]:
        objects = directory.collection(entity_set.collection).values()
        return {str(obj.get(name)).lower(): obj for obj in objects if obj.get(name)}

    index: dict[str, JsonObject] = directory.memo(
        f"{entity_set.collection} key {name}", (entity_set.collection,), build
    )
    return index.get(value.lower())


def unquote_key(text: str) -> str:
    """A key without its quotes; doubled quotes inside are one."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text
