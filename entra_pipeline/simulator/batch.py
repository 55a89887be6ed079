"""JSON batching: up to 20 requests in one round trip, answered in any order.

Graph "Combine multiple HTTP requests using JSON batching". Each item is charged, throttled and
faulted on its own.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from entra_pipeline.simulator.contention import object_of, unordered
from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.wire import (
    JsonObject,
    Request,
    Response,
    decode_json,
    encode_json,
)

MAX_ITEMS = 20

Send = Callable[[Request], Awaitable[Response]]


async def answer(request: Request, send: Send, rng: random.Random) -> Response:
    """Answer `POST /$batch`. Raises GraphError 400 for a malformed batch."""
    items = _read(request)
    version = request.path.strip("/").split("/")[0]
    done: dict[str, Response] = {}
    colliding = unordered(items)
    for item in items:
        failed = [each for each in item.get("dependsOn") or () if done[each].status >= 400]
        if failed:
            done[item["id"]] = _failed_dependency()
        else:
            contended = request.contended or item["id"] in colliding
            done[item["id"]] = await _one(request, item, version, contended, send)
    parts = [_encode(item_id, response) for item_id, response in done.items()]
    rng.shuffle(parts)
    response = Response(
        body=b'{"responses":[' + b",".join(parts) + b"]}", content_type="application/json"
    )
    response.route = "POST /$batch"
    return response


def written_by(request: Request) -> set[str]:
    """The objects that a batch writes to; none for one that cannot be read."""
    try:
        items = _read(request)
    except GraphError:
        return set()
    names = (object_of(item["method"], item["url"]) for item in items)
    return {name for name in names if name is not None}


def _read(request: Request) -> list[JsonObject]:
    try:
        document: Any = decode_json(request.body)
    except ValueError:
        raise bad_request("Unable to read JSON request payload.", "BadRequest") from None
    items = document.get("requests") if isinstance(document, dict) else None
    if not isinstance(items, list) or not items:
        raise bad_request("Invalid batch payload format.", "BadRequest")
    if len(items) > MAX_ITEMS:
        raise bad_request(
            f"Number of batch request steps exceeds the maximum value of {MAX_ITEMS}.",
            "BadRequest",
        )
    seen: set[str] = set()
    for item in items:
        if not isinstance(item, dict) or not all(
            isinstance(item.get(name), str) and item[name] for name in ("id", "method", "url")
        ):
            raise bad_request("Each request needs the texts id, method and url.", "BadRequest")
        if item["id"] in seen:
            raise bad_request(f"Request id '{item['id']}' occurs twice.", "BadRequest")
        if "\\" in item["id"]:
            raise bad_request("Request ids must not contain a backslash.", "BadRequest")
        depends = item.get("dependsOn") or []
        if not isinstance(depends, list) or any(each not in seen for each in depends):
            raise bad_request(
                f"Request '{item['id']}' depends on a request that does not come before it.",
                "BadRequest",
            )
        seen.add(item["id"])
    return items


async def _one(
    outer: Request, item: JsonObject, version: str, contended: bool, send: Send
) -> Response:
    url: str = item["url"]
    if "://" in url:
        split = urlsplit(url)
        path, query = split.path, split.query
    else:
        path, _, query = url.partition("?")
        if not path.startswith("/"):
            path = f"/{path}"
    lowered = path.lower()
    if not lowered.startswith(("/v1.0/", "/beta/")):
        path = f"/{version}{path}"
    headers = {str(name).lower(): str(value) for name, value in (item.get("headers") or {}).items()}
    body = item.get("body")
    if lowered.rstrip("/").endswith("/$batch"):
        return _error(400, "BadRequest", "Batches cannot be nested.")
    if body is not None and "content-type" not in headers:
        return _error(400, "BadRequest", "Write request without Content-Type header.")
    if "client-request-id" in outer.headers:
        headers.setdefault("client-request-id", outer.headers["client-request-id"])
    inner = Request(
        method=item["method"].upper(),
        path=path,
        query=query,
        headers=headers,
        body=b"" if body is None else encode_json(body),
        base=outer.base,
        caller=outer.caller,
        in_batch=True,
        contended=contended,
    )
    return await send(inner)


def _error(status: int, code: str, message: str) -> Response:
    return Response(status=status, body=encode_json({"error": {"code": code, "message": message}}))


def _failed_dependency() -> Response:
    return _error(424, "FailedDependency", "A request that this one depends on has failed.")


def _encode(item_id: str, response: Response) -> bytes:
    headers = {"Cache-Control": "no-cache", **response.headers}
    body = response.body
    if body:
        headers["Content-Type"] = response.content_type
        if body.isdigit() and response.status == 200:
            pass  # a count: a number in the answer too
        elif "json" not in response.content_type or body.lstrip()[:1] not in (b"{", b"["):
            body = encode_json(body.decode("utf-8", "replace"))
    else:
        body = b"null"
    return b'{"id":%b,"status":%d,"headers":%b,"body":%b}' % (
        encode_json(item_id),
        response.status,
        encode_json(headers),
        body,
    )
