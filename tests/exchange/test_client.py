"""Commands of Exchange over the wire: pages, redirects, refusals, and what is never sent."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from entra_pipeline.exchange import ExchangeClient
from entra_pipeline.exchange.places import Places
from entra_pipeline.msgraph import RetryPolicy, Write
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    ForeignLinkError,
    GraphError,
    MalformedAnswerError,
    NotFoundError,
    RepeatingLinkError,
    ServerError,
    ThrottledError,
)
from entra_pipeline.msgraph.transport import GraphSession
from tests.msgraph.scripted import FakeClock, Reply, Script, ScriptedServer, Seen, Tokens

TENANT = "7f7a8f6e-bd42-447b-b21c-a1ee1f88ea6d"
GROUP = "00000000-0000-4000-8000-000000000021"
PATH = f"/adminapi/beta/{TENANT}/InvokeCommand"
GET = "Get-DistributionGroupMember"


class World:
    """A client of a scripted server, with a clock that nobody waits for."""

    def __init__(self, script: Script | list[Reply]) -> None:
        self.server = ScriptedServer(script)
        self.clock, self.tokens = FakeClock(), Tokens()
        self.stopped = False
        session = GraphSession(
            ca_file=None, proxies_for=lambda _url: {}, connections=4, timeout=(5.0, 5.0)
        )
        self.client = ExchangeClient(
            self.server.url,
            TENANT,
            self.tokens,
            session,
            clock=self.clock,
            retries=RetryPolicy(attempts=3),
            rng=random.Random(7),
        )

    def members(self) -> list[dict[str, Any]]:
        return self.client.of(GET, GROUP, {"ResultSize": "Unlimited"}, table="test")

    def add(self, count: int = 1) -> list[Any]:
        def before() -> None:
            if self.stopped:
                raise InterruptedError

        writes = [
            Write(str(n), "POST", "Add-DistributionGroupMember", {"Identity": GROUP, "Member": "x"})
            for n in range(count)
        ]
        return self.client.writer(before).write(writes)


@pytest.fixture
def world() -> Iterator[Callable[[Script | list[Reply]], World]]:
    opened: list[World] = []

    def make(script: Script | list[Reply]) -> World:
        made = World(script)
        made.server.__enter__()
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.client.close()
        each.server.__exit__(None, None, None)


def refusal(cls: str, text: str = "It failed.", status: int = 400) -> Reply:
    message = f"Ex6F9304|Microsoft.Exchange.Management.Tasks.{cls}|{text}"
    error = {"code": "BadRequest", "message": "Error.", "details": [{"message": message}]}
    return Reply(status, {"error": error})


def test_a_command_is_what_the_powershell_module_sends(world: Any) -> None:
    made = world([Reply(json={"value": [{"Name": "a"}]})])
    assert made.members() == [{"Name": "a"}]
    (seen,) = made.server.seen
    assert (seen.method, seen.path) == ("POST", PATH)
    parameters = {"ResultSize": "Unlimited", "Identity": GROUP}
    assert seen.json() == {"CmdletInput": {"CmdletName": GET, "Parameters": parameters}}
    headers = {name.lower(): value for name, value in seen.headers.items()}
    assert headers["authorization"] == "Bearer token-1"
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["prefer"] == "odata.maxpagesize=1000"
    assert headers["x-responseformat"] == "json"
    anchor = "APP:SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}"
    assert headers["x-anchormailbox"] == f"{anchor}@{TENANT}"


@pytest.mark.parametrize("identity", ["", "null", "*", "sales", GROUP.upper() + " "])
def test_what_might_mean_every_object_is_never_sent(world: Any, identity: str) -> None:
    made = world([])
    with pytest.raises(ValueError, match="is not an object id"):
        made.client.of(GET, identity, {}, table="test")
    assert made.server.seen == []


def test_pages_are_had_by_sending_the_same_body_to_the_next_link(world: Any) -> None:
    def script(seen: Seen) -> Reply:
        place = int(seen.query.rpartition("=")[2] or 0) if "skip" in seen.query else 0
        page: dict[str, Any] = {"value": [{"n": place}]}
        if place < 3:
            page["@odata.nextLink"] = f"http://{seen.headers['Host']}{PATH}?skip={place + 1}"
        return Reply(json=page)

    made = world(script)
    assert [row["n"] for row in made.members()] == [0, 1, 2, 3]
    assert len({seen.body for seen in made.server.seen}) == 1


@pytest.mark.parametrize(
    "link",
    [
        "https://outlook.example/adminapi/x",
        "http://127.0.0.1:1/adminapi/x",
        "//else.example/x",
        "http://user@127.0.0.1/x",
    ],
)
def test_no_link_leads_a_token_elsewhere(world: Any, link: str) -> None:
    made = world([Reply(json={"value": [], "@odata.nextLink": link})])
    with pytest.raises(ForeignLinkError):
        made.members()
    redirected = world([Reply(302, headers={"Location": link})])
    with pytest.raises(ForeignLinkError):
        redirected.members()
    assert len(made.server.seen) == len(redirected.server.seen) == 1


def test_a_next_link_that_comes_twice_ends_it(world: Any) -> None:
    made = world(lambda seen: Reply(json={"value": [], "@odata.nextLink": f"{PATH}?skip=1"}))
    with pytest.raises(RepeatingLinkError):
        made.members()


def test_a_redirect_is_followed_with_the_token_and_remembered(world: Any) -> None:
    def script(seen: Seen) -> Reply:
        if seen.headers["Host"].startswith("127.0.0.1"):
            host = seen.headers["Host"].replace("127.0.0.1", "localhost")
            return Reply(302, headers={"Location": f"http://{host}{PATH}"})
        return Reply(json={"value": [{"by": seen.headers["Host"].partition(":")[0]}]})

    made = world(script)
    assert made.members() == made.members() == [{"by": "localhost"}]
    hosts = [seen.headers["Host"].partition(":")[0] for seen in made.server.seen]
    assert hosts == ["127.0.0.1", "localhost", "localhost"]
    assert {seen.headers["Authorization"] for seen in made.server.seen} == {"Bearer token-1"}
    assert {seen.method for seen in made.server.seen} == {"POST"}


def test_redirects_without_end_are_given_up(world: Any) -> None:
    made = world(lambda seen: Reply(302, headers={"Location": PATH}))
    with pytest.raises(ForeignLinkError):
        made.members()
    assert len(made.server.seen) == 6


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (refusal("MemberAlreadyExistsException"), BadRequestError, "MemberAlreadyExistsException"),
        (refusal("MemberNotFoundException", status=500), BadRequestError, None),
        (refusal("ManagementObjectNotFoundException"), NotFoundError, None),
        (refusal("OperationRequiresGroupManagerException"), ForbiddenError, None),
        (refusal("CommandNotFoundException", status=404), ForbiddenError, None),
        (refusal("ADTransientException"), ServerError, None),
        (refusal("RecipientTaskException"), BadRequestError, "RecipientTaskException"),
        (Reply(403), ForbiddenError, "HTTP403"),
        (Reply(401), AuthenticationError, "HTTP401"),
        (Reply(404), BadRequestError, "HTTP404"),
        (Reply(503), ServerError, "HTTP503"),
        (Reply(429, headers={"Retry-After": "5000"}), ThrottledError, None),
        (Reply(body=b"<html>"), MalformedAnswerError, None),
    ],
)
def test_an_exceptions_class_says_more_than_the_status(
    world: Any, reply: Reply, kind: type[GraphError], code: str | None
) -> None:
    made = world(lambda seen: reply)
    with pytest.raises(kind) as caught:
        made.members()
    assert code is None or caught.value.code == code


def test_the_text_of_a_refusal_names_nobody(world: Any) -> None:
    said = 'The recipient "Anna Berg" (anna@contoso.example) is already in "Sales".'
    made = world(lambda seen: refusal("MemberAlreadyExistsException", said))
    (written,) = made.add()
    assert "Anna" not in str(written.error)
    assert "anna@" not in str(written.error)
    assert "MemberAlreadyExistsException" in str(written.error)


@pytest.mark.parametrize(
    ("reply", "happened"),
    [
        (Reply(json={"value": []}), True),
        (refusal("MemberAlreadyExistsException"), False),
        (refusal("MemberAlreadyExistsException", status=500), False),
        (Reply(401), False),
        (Reply(503), None),
        (Reply(500), None),
        (Reply(reset=True), None),
        (Reply(json={"value": []}, cut_at=3), None),
    ],
)
def test_what_a_write_came_to_is_known_or_said_not_to_be(
    world: Any, reply: Reply, happened: bool | None
) -> None:
    made = world(lambda seen: reply)
    (written,) = made.add()
    assert written.happened is happened
    # A write is sent once more only after an answer of somebody who did nothing.
    assert len(made.server.seen) == (2 if reply.status == 401 else 1)


def test_throttling_and_an_old_token_are_waited_for_and_renewed(world: Any) -> None:
    replies = [Reply(429, headers={"Retry-After": "7"}), Reply(401), Reply(json={"value": []})]
    made = world(replies)
    (written,) = made.add()
    assert written.happened is True
    assert made.clock.slept >= 7
    tokens = [seen.headers["Authorization"] for seen in made.server.seen]
    assert tokens == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_a_write_that_was_redirected_is_sent_on_and_only_once_done(world: Any) -> None:
    def script(seen: Seen) -> Reply:
        if "moved" not in seen.target:
            return Reply(302, headers={"Location": f"{PATH}?moved=1"})
        return Reply(json={"value": []})

    made = world(script)
    (written,) = made.add()
    assert written.happened is True
    assert [("moved" in seen.target) for seen in made.server.seen] == [False, True]
    assert len({seen.body for seen in made.server.seen}) == 1


def test_who_stops_it_stops_it_before_the_next_command(world: Any) -> None:
    made = world([])

    def script(seen: Seen) -> Reply:
        made.stopped = True
        return Reply(json={"value": []})

    made.server.script = script
    first, second, third = made.add(3)
    assert (first.happened, second.happened, third.happened) == (True, False, False)
    assert len(made.server.seen) == 1
    with pytest.raises(InterruptedError):
        made.add()
    assert len(made.server.seen) == 1


@pytest.mark.parametrize(
    ("base", "link", "ours"),
    [
        ("https://outlook.office365.com", "https://eur01.outlook.office365.com/x", True),
        ("https://outlook.office365.com", "https://outlook.office365.com/x", True),
        ("https://outlook.office365.com", "https://outlook.office365.com:444/x", False),
        ("https://outlook.office365.com", "http://outlook.office365.com/x", False),
        ("https://outlook.office365.com", "https://evil-outlook.office365.com/x", False),
        ("https://outlook.office365.com", "https://outlook.office365.com.evil.example/x", False),
        ("https://outlook.office365.us", "https://outlook.office365.com/x", False),
        ("https://outlook.office365.com", "https://a@outlook.office365.com/x", False),
        ("https://outlook.office365.com", "https://outlook.office365.com\\@evil.example/x", False),
        ("https://outlook.office365.com", "", False),
    ],
)
def test_a_token_goes_to_exchanges_own_hosts_alone(base: str, link: str, ours: bool) -> None:
    places, at = Places(base), f"{base}{PATH}"
    if ours:
        assert places.checked(link, at) == link
    else:
        with pytest.raises(ForeignLinkError):
            places.checked(link, at)
