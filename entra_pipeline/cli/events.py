"""`events`: changes of access as the event feed heard them; reads the data directory alone."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import moments, options, output
from entra_pipeline.cli.exits import CliError
from entra_pipeline.cli.output import Col, count, moment
from entra_pipeline.cli.warehouse import existing

if TYPE_CHECKING:
    from entra_pipeline.lake import DataDirectory
    from entra_pipeline.lake.feed import Feed
    from entra_pipeline.lake.feed_model import Event, Summary

PEOPLE = 100
POLL_S = 1.0
#: The sensor looks twice a minute.
LATE = timedelta(minutes=5)
_STYLES = {"refreshed": "green", "given up": "bold red"}
_START = "Start the sensor event_feed in Dagster's pages (`entra-pipeline serve`)."


def events(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only events from then on: 2026-11-01, 'yesterday', '2 hours ago'.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Go on showing events as they are heard, until ctrl-c."
        ),
    ] = False,
    poisoned: Annotated[
        bool,
        typer.Option("--poisoned", help="The events that could not be read instead, and why."),
    ] = False,
    json_: options.Json = False,
    limit: options.Limit = None,
    data_dir: options.DataDir = None,
) -> None:
    """Changes of access that the event feed heard of, and what became of each.

    The feed is a sensor of Dagster's that follows the directory audits while `serve` runs; events
    are kept in the data directory. With --follow and --json each event is a document on a line of
    its own.

    [bold]Examples[/]

      entra-pipeline events --since "2 hours ago"

      entra-pipeline events --follow --json

      entra-pipeline events --poisoned
    """
    if follow and poisoned:
        raise CliError("--follow shows events; --poisoned those that are none: give one of them")
    start = None if since is None else moments.parse(since)
    directory = existing(data_dir)
    from entra_pipeline.lake import feed as feeds

    feed = feeds.existing(directory)
    if feed is None:
        if follow:
            feed = feeds.Feed(directory)
        elif output.is_json():
            output.print_json({"events": [], "poisoned": [], "feed": None})
            return
        else:
            output.say(f"No event was ever heard. {_START}")
            return
    if poisoned:
        _show_poisoned(feed)
    elif follow:
        _follow(feed, start)
    else:
        _show(feed, start, limit)


def _show(feed: Feed, since: datetime | None, limit: int | None) -> None:
    most = limit if limit is not None else 0 if output.is_json() else PEOPLE
    found = feed.events(since=since, limit=most or None)
    summary = feed.summary()
    if output.is_json():
        output.print_json(
            {
                "events": [event.to_json() for event in found],
                "poisoned": [poison.to_json() for poison in feed.poisoned()],
                "feed": summary.to_json(),
            }
        )
        return
    _print(found)
    _say(summary)


def _follow(feed: Feed, since: datetime | None) -> None:
    """Show what is there from `since` on (without it nothing), then what comes."""
    _say(feed.summary())
    if since is None:
        last = feed.events(limit=1)
        after = last[0].sequence if last else 0
    else:
        after = 0
    while True:
        for event in feed.events(since=since, after=after):
            after = event.sequence
            if output.is_json():
                text = json.dumps(event.to_json(), ensure_ascii=True)
                output.write(text + "\n")
            else:
                output.show(_line(event), breaks=False)
        time.sleep(POLL_S)


def _show_poisoned(feed: Feed) -> None:
    found = feed.poisoned()
    if output.is_json():
        output.print_json({"poisoned": [poison.to_json() for poison in found]})
        return
    output.print_table(
        ["Heard (UTC)", Col("Event"), Col("Why", wrap=True)],
        [[poison.heard, poison.id, poison.reason] for poison in found],
    )


def _print(found: Sequence[Event]) -> None:
    from rich.text import Text

    output.print_table(
        ["Time (UTC)", Col("Activity", wrap=True), "By", Col("About", wrap=True), "State"],
        [
            [
                event.time,
                event.activity,
                event.actor_id,
                list(event.targets),
                Text(event.state.value, style=_STYLES.get(event.state.value, "yellow")),
            ]
            for event in found
        ],
    )


def _line(event: Event) -> str:
    about = " ".join(event.targets)
    return f"{event.time:%Y-%m-%d %H:%M:%S}  {event.activity}  by {event.actor_id}  about {about}"


def _say(summary: Summary) -> None:
    """What people should know beside the events."""
    if summary.listened is None or datetime.now(UTC) - summary.listened > LATE:
        heard = "never" if summary.listened is None else f"at {moment(summary.listened)} UTC"
        output.say(f"The feed was last heard {heard}. {_START}", style="yellow")
    for line in troubles(summary.to_json()):
        output.say(line, style="yellow")


def summary(directory: DataDirectory) -> dict[str, Any] | None:
    """How the feed of a data directory stands, as JSON; None where nobody ever listened."""
    from entra_pipeline.lake import feed as feeds

    feed = feeds.existing(directory)
    return None if feed is None else feed.summary().to_json()


def troubles(feed: dict[str, Any]) -> list[str]:
    """What is wrong with a feed, a line each, from its summary as JSON."""
    lines = []
    if feed["trouble"]:
        lines.append(f"Event feed: {feed['trouble']}")
    if feed["poisoned"]:
        could = count(feed["poisoned"], "event")
        lines.append(f"{could} could not be read: entra-pipeline events --poisoned")
    if given_up := feed["events"]["given up"]:
        lines.append(
            f"{count(given_up, 'event')} given up, as refreshes failed; see Dagster's runs"
        )
    webhook = feed["webhook"]
    if webhook["given_up"] or (webhook["waiting"] and webhook["trouble"]):
        lines.append(
            f"Webhook: {webhook['waiting']} waiting, {webhook['given_up']} given up "
            f"({webhook['trouble']})"
        )
    return lines
