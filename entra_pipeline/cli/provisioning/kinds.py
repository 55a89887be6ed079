"""`request` for every other kind: a command each, made from the kind's own fields.

The kinds are looked at only when `request` is called, so that no other command waits for them.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from entra_pipeline.cli import options
from entra_pipeline.cli.exits import CliError
from entra_pipeline.cli.provisioning import asking
from entra_pipeline.cli.provisioning.opened import SignIn

if TYPE_CHECKING:
    from pydantic import BaseModel

_NAMES: Final = {"create_user": "create-account"}
_BY_HAND: Final = frozenset({"grant", "revoke", "offboard"})
_ID: Final = frozenset({"user_id"})
_AROUND: Final[Mapping[str, Any]] = {
    "reason": (asking.Reason, inspect.Parameter.empty),
    "not_before": (asking.NotBefore, None),
    "for_whom": (asking.ForWhom, None),
    "key": (asking.Key, None),
    "sign_in": (SignIn, False),
    "json_": (options.Json, False),
}


class Kinds(TyperGroup):
    """The commands of `request`: those written by hand, then one for each other kind."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names."""
        return [*super().list_commands(ctx), *(name for name, _ in _kinds())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, made now if it is a kind's."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        for name, model in _kinds():
            if name == cmd_name:
                return _command(name, model)
        return None


def _kinds() -> Iterator[tuple[str, type[BaseModel]]]:
    from entra_pipeline.provisioning import values

    for model in typing.get_args(typing.get_args(values.Body)[0]):
        kind = model.model_fields["kind"].default
        if kind not in _BY_HAND:
            yield _NAMES.get(kind, kind.replace("_", "-")), model


def _command(name: str, model: type[BaseModel]) -> Any:
    kind = model.model_fields["kind"].default
    parameters = [
        inspect.Parameter(
            field, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
        )
        for field, (annotation, default) in {**_fields(model), **_AROUND}.items()
    ]

    def command(**given: Any) -> None:
        sign_in = given.pop("sign_in")
        given.pop("json_")
        fields = {key: value for key, value in given.items() if value not in (None, [], ())}
        for key in _ID & fields.keys():
            fields[key] = asking.principal_id(fields[key])
        for key, field in model.model_fields.items():
            if key in fields and _shape(field.annotation) is Mapping:
                fields[key] = _pairs(key, fields[key])
        asking.file_fields({"kind": kind, **fields}, sign_in=sign_in)

    # `from __future__ import annotations` would make texts of these.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__doc__ = inspect.cleandoc(model.__doc__ or "").split("\n\n")[0]
    alone = typer.Typer(
        rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False
    )
    alone.command(name, help=command.__doc__)(command)
    return typer.main.get_command(alone)


def _fields(model: type[BaseModel]) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        required = field.is_required()
        default = inspect.Parameter.empty if required else None
        text = field.description
        flag = f"--{name.replace('_', '-')}"
        shape = _shape(field.annotation)
        if name in _ID:
            what = typer.Argument(metavar="USER", help="Object id, or a name.")
            found[name] = (Annotated[str, what], default)
        elif shape is bool:
            found[name] = (Annotated[bool, typer.Option(help=text)], field.default)
        elif shape is tuple:
            many = typer.Option(flag, metavar="ID", help=text or "May be repeated.")
            found[name] = (Annotated[list[str] | None, many], None)
        elif shape is Mapping:
            pairs = typer.Option(flag, metavar="NAME=VALUE", help=text or "May be repeated.")
            found[name] = (Annotated[list[str] if required else list[str] | None, pairs], default)
        else:
            one = typer.Option(flag, metavar="TEXT", help=text, show_default=False)
            found[name] = (Annotated[str if required else str | None, one], default)
    return found


def _shape(annotation: Any) -> Any:
    """bool, tuple, Mapping or str: how a field is given on the command line."""
    origin = typing.get_origin(annotation)
    if annotation is bool:
        return bool
    if origin is tuple:
        return tuple
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Mapping
    return str


def _pairs(name: str, given: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts as a mapping; values are JSON where they look like it."""
    import json

    found: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise CliError(f"--{name.replace('_', '-')}: {text!r} is not NAME=VALUE")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found
