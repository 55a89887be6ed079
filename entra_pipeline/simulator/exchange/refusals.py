"""Exchange's errors: an exception's class within the message, in an envelope of its own.

Learn "Exchange Online PowerShell"; the envelope is what callers of InvokeCommand have recorded.
"""

from entra_pipeline.simulator.wire import Response, encode_json

_TASKS = "Microsoft.Exchange.Management.Tasks"
_RECIPIENTS = "Microsoft.Exchange.Management.RecipientTasks"
_SERVER = "EURPR04A01DC01.EURPR04A001.PROD.OUTLOOK.COM"


class ExchangeError(Exception):
    """An answer other than success; `cls` is the class that PowerShell would throw."""

    def __init__(self, status: int, code: str, cls: str, text: str) -> None:
        super().__init__(f"{status} {cls}: {text}")
        self.status, self.code, self.cls, self.text = status, code, cls, text

    def response(self) -> Response:
        """The error in its envelope; 401 and 403 have none."""
        if not self.cls:
            return Response(status=self.status, content_type="text/plain")
        message = f"Ex6F9304|{self.cls}|{self.text}"
        error = {
            "code": self.code,
            "message": "Error executing request. " + self.text,
            "details": [{"code": "Context", "target": "", "message": message}],
            "innererror": {
                "message": "Error executing cmdlet.",
                "type": "Microsoft.Exchange.Admin.OData.Core.ODataServiceException",
                "stacktrace": "",
                "internalexception": {"message": message, "type": self.cls, "stacktrace": ""},
            },
        }
        return Response(
            status=self.status,
            body=encode_json({"error": error}),
            content_type="application/json; charset=utf-8",
        )


def unauthenticated() -> ExchangeError:
    """401, without a body."""
    return ExchangeError(401, "", "", "")


def no_role(app_id: str) -> ExchangeError:
    """403: the application's principal holds no role that Exchange knows."""
    return ExchangeError(
        403,
        "Forbidden",
        "System.UnauthorizedAccessException",
        f"The role assigned to application {app_id} isn't supported in this scenario. Please "
        "check online documentation for assigning correct Directory Roles to Azure AD Application "
        "for EXO App-Only Authentication.",
    )


def unknown_command(name: str) -> ExchangeError:
    """404: no such command, or none that the caller's role has."""
    return ExchangeError(
        404,
        "NotFound",
        "System.Management.Automation.CommandNotFoundException",
        f"The term '{name}' is not recognized as a name of a cmdlet, function, script file, or "
        "executable program.",
    )


def bad_input(text: str) -> ExchangeError:
    """400: the body or a parameter is not what the command takes."""
    return ExchangeError(
        400, "BadRequest", "System.Management.Automation.ParameterBindingException", text
    )


def no_object(identity: str) -> ExchangeError:
    """404 for a group that Exchange does not have."""
    return ExchangeError(
        404,
        "NotFound",
        "Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException",
        f"The operation couldn't be performed because object '{identity}' couldn't be found on "
        f"'{_SERVER}'.",
    )


def no_recipient(identity: str) -> ExchangeError:
    """404 for somebody who cannot receive mail, or is not there."""
    return ExchangeError(
        404,
        "NotFound",
        "Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException",
        f'Couldn\'t find object "{identity}". Please make sure that it was spelled correctly or '
        "specify a different object.",
    )


def already_member(who: str, group: str) -> ExchangeError:
    """400 for a member that is one."""
    return ExchangeError(
        400,
        "BadRequest",
        f"{_TASKS}.MemberAlreadyExistsException",
        f'The recipient "{who}" is already a member of the group "{group}".',
    )


def not_a_member(who: str, group: str) -> ExchangeError:
    """400 for a member that is none."""
    return ExchangeError(
        400,
        "BadRequest",
        f"{_TASKS}.MemberNotFoundException",
        f'The recipient "{who}" isn\'t a member of the group "{group}".',
    )


def not_a_manager() -> ExchangeError:
    """400 without BypassSecurityGroupManagerCheck."""
    return ExchangeError(
        400,
        "BadRequest",
        f"{_TASKS}.OperationRequiresGroupManagerException",
        "You don't have sufficient permissions. This operation can only be performed by a manager "
        "of the group.",
    )


def refused(text: str) -> ExchangeError:
    """400 for what a kind of group does not allow."""
    return ExchangeError(400, "BadRequest", f"{_RECIPIENTS}.RecipientTaskException", text)
