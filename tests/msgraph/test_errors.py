"""Messages are safe to show: no ids, names, addresses or tokens, whatever Graph writes."""

from __future__ import annotations

import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entra_pipeline.msgraph.errors import (
    GraphError,
    UnsupportedError,
    classify,
    path_template,
    redact,
)

GUID = "6f1c3c6e-6a55-4c11-9d2a-1234567890ab"


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/users", "/users"),
        ("/users?$select=id&$filter=mail eq 'a@b.c'", "/users"),
        (f"/users/{GUID}/licenseDetails", "/users/{id}/licenseDetails"),
        ("/users/anna@contoso.example", "/users/{id}"),
        ("/users/anna%40contoso.example/manager", "/users/{id}/manager"),
        ("/users/anna", "/users/{id}"),
        ("/users('$anna@contoso.example')", "/users({id})"),
        ("/users(userPrincipalName='anna@contoso.example')", "/users(userPrincipalName={id})"),
        (f"/servicePrincipals(appId='{GUID}')/appRoles", "/servicePrincipals(appId={id})/appRoles"),
        (f"https://graph.microsoft.com/v1.0/groups/{GUID}/members", "/groups/{id}/members"),
        (
            f"/groups/{GUID}/members/microsoft.graph.user",
            "/groups/{id}/members/microsoft.graph.user",
        ),
        (f"/groups/{GUID}/members/$count", "/groups/{id}/members/$count"),
        ("/groups/delta", "/groups/delta"),
        ("/groups/delta()?$deltatoken=secret", "/groups/delta()"),
        ("/oauth2PermissionGrants", "/oauth2PermissionGrants"),
        (
            "/roleManagement/directory/roleAssignments/lAPpYvVpN0KRkAEhdxReE",
            "/roleManagement/directory/roleAssignments/{id}",
        ),
        (
            "/directory/deletedItems/microsoft.graph.user",
            "/directory/deletedItems/microsoft.graph.user",
        ),
        ("/$batch", "/$batch"),
        ("/", "/"),
    ],
)
def test_a_path_shows_its_shape_and_no_object(path, template):
    assert path_template(path) == template


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"Resource '{GUID}' does not exist.", "Resource '…' does not exist."),
        ("User 'Anna Smith' is blocked", "User '…' is blocked"),
        ("User “Anna Smith” is blocked", "User '…' is blocked"),
        ("anna@contoso.example is unknown", "{upn} is unknown"),
        (f"Object {GUID} is unknown", "Object {id} is unknown"),
        ("Token eyJhbGciOi.eyJzdWIi.sig is bad", "Token {token} is bad"),
        (
            "Resource not found for the segment 'auditLogs'.",
            "Resource not found for the segment 'auditLogs'.",
        ),
        (
            "Could not find a property named 'nme' on type 'x.user'.",
            "Could not find a property named 'nme' on type 'x.user'.",
        ),
        (
            "Resource not found for the segment 'anna smith'.",
            "Resource not found for the segment '…'.",
        ),
    ],
)
def test_a_message_keeps_its_sense_and_loses_its_data(message, shown):
    assert redact(message) == shown


local = st.text(string.ascii_letters + string.digits + "._-+'#", min_size=1, max_size=20)


@given(local, local)
def test_no_address_survives_in_a_path(name, domain):
    address = f"{name}@{domain}.example"
    assert domain + ".example" not in path_template(f"/users/{address.replace('#', '%23')}/manager")


@given(st.uuids(), st.sampled_from(["users", "groups", "anything"]))
def test_no_id_survives_in_a_path_or_message(some, collection):
    assert str(some) not in path_template(f"/{collection}/{some}/members/{some}/$ref")
    assert str(some) not in redact(f"The object {some} of '{some}' is gone ({some})")


def test_an_error_survives_the_way_between_processes():
    body = (
        b'{"error":{"code":"BadRequest","message":"Resource not found for the segment \'x\'.",'
        b'"innerError":{"request-id":"abc-1","date":"2026-11-23T02:59:00"}}}'
    )
    error = classify(400, {}, body, method="GET", path="/x")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is UnsupportedError
    assert isinstance(again, GraphError)
    assert str(again) == str(error)
    assert again.request_id == "abc-1"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error":"text"}', b'{"error":null}', b"\xff"]
)
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 410, 418, 429, 500, 501, 503])
def test_any_body_of_a_failure_is_an_error_with_its_status(status, body):
    error = classify(status, {"request-id": "r1"}, body, method="GET", path="/users")
    assert error.status == status
    assert error.code == f"HTTP{status}"
    assert error.request_id == "r1"
