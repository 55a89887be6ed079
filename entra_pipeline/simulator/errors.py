"""The errors that Graph answers with, as exceptions and as JSON.

Shapes and codes: graph "Microsoft Graph error responses and resource types". Errors of the token
endpoint look different and live in identity.py.
"""

from typing import Any

from entra_pipeline.simulator.wire import Response, encode_json


class GraphError(Exception):
    """An answer other than success.

    `code` is Graph's own word (`Request_ResourceNotFound`), `headers` are added to the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: dict[str, str] | None = None,
        details: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.details = details

    def response(self, date: str, request_id: str, client_request_id: str) -> Response:
        """The error as Graph words it; `date` without a zone, as Graph does."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = self.details
        error["innerError"] = {
            "date": date,
            "request-id": request_id,
            "client-request-id": client_request_id,
        }
        return Response(
            status=self.status, body=encode_json({"error": error}), headers=dict(self.headers)
        )


def bad_request(message: str, code: str = "Request_BadRequest") -> GraphError:
    """400 for a request that cannot be understood."""
    return GraphError(400, code, message)


def unsupported_query(message: str = "Unsupported Query.") -> GraphError:
    """400 for a query that Graph understands and refuses."""
    return GraphError(400, "Request_UnsupportedQuery", message)


def not_found(object_id: str) -> GraphError:
    """404 for an object that is not there (or not there yet)."""
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{object_id}' does not exist or one of its queried reference-property objects "
        "are not present.",
    )


def no_segment(segment: str) -> GraphError:
    """400 for a path that this cloud or version does not have."""
    return GraphError(400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def denied(message: str = "Insufficient privileges to complete the operation.") -> GraphError:
    """403 for a missing application permission."""
    return GraphError(403, "Authorization_RequestDenied", message)
