"""Starting the simulator: options, ports, the ready file, the way it ends."""

import argparse
import asyncio
import contextlib
import gc
import importlib
import json
import os
import random
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from entra_pipeline.simulator import certificates, roles
from entra_pipeline.simulator.app import TRANSPORT, App
from entra_pipeline.simulator.changes.base import Observe
from entra_pipeline.simulator.clients import Client
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.contention import Contention
from entra_pipeline.simulator.control import Control
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.exchange.endpoint import Exchange
from entra_pipeline.simulator.exchange.lists import Lists
from entra_pipeline.simulator.faults import FaultRuleError, Faults
from entra_pipeline.simulator.graph import Graph
from entra_pipeline.simulator.identity import IdentityPlatform
from entra_pipeline.simulator.logs.build import build_logs
from entra_pipeline.simulator.logs.feed import Recorded
from entra_pipeline.simulator.logs.trail import Trail
from entra_pipeline.simulator.model import Options
from entra_pipeline.simulator.permissions import EXCHANGE_GRANTED, GRANTED, hidden_kinds
from entra_pipeline.simulator.replication import Replication
from entra_pipeline.simulator.statistics import Statistics
from entra_pipeline.simulator.tenant import Tenant, TenantFileError, load
from entra_pipeline.simulator.throttle import WRITES_PER_150_S, Throttle
from entra_pipeline.simulator.tokens import ClientCertificate
from entra_pipeline.simulator.wire import JsonObject
from entra_pipeline.simulator.writes.effects import Effects
from entra_pipeline.simulator.writes.holds import Holds
from entra_pipeline.simulator.writes.needs import WRITER_GRANTED
from entra_pipeline.simulator.writes.routes import Writes
from entra_pipeline.simulator.writes.write import Service
from entra_pipeline.simulator.writes.writer import register

CLOUDS = ("global", "usgov", "usgov_dod", "china", "govsg", "bleu", "delos", "usnat", "ussec")
_KEEP_ALIVE_S = 120
_BACKLOG = 2048


class StartError(Exception):
    """The simulator cannot start; the message names the option, the reason and the remedy."""


def parser() -> argparse.ArgumentParser:
    """The command line of the simulator."""
    made = argparse.ArgumentParser(
        prog="entra-pipeline simulate",
        description="A stand-in for the Microsoft identity platform and Microsoft Graph v1.0, "
        "on this machine's loopback only.",
    )
    made.add_argument("--users", type=int, default=2000, help="users to generate (2000)")
    made.add_argument("--groups", type=int, help="groups to generate (three tenths of the users)")
    made.add_argument("--seed", type=int, default=0, help="the same seed gives the same tenant (0)")
    made.add_argument("--tenant", type=Path, help="serve the tenant in this directory of JSON")
    made.add_argument("--port", type=int, default=0, help="https port; 0 for any free one (0)")
    made.add_argument("--http", action="store_true", help="a second, plain port as well")
    made.add_argument("--http-port", type=int, default=0, help="that port; 0 for any free one (0)")
    made.add_argument("--tls-dir", type=Path, help="keep certificates and client secret here")
    made.add_argument("--latency-ms", type=float, default=0.0, help="wait before each answer (0)")
    made.add_argument("--throttle", choices=("off", "s", "m", "l"), default="off")
    made.add_argument("--writer", action="store_true", help="a second application that may write")
    made.add_argument("--writer-role", action="append", default=[], metavar="ROLE")
    made.add_argument("--writer-without-permission", action="append", default=[], metavar="P")
    made.add_argument("--client-role", action="append", default=[], metavar="ROLE")
    made.add_argument(
        "--back-sync",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="seconds until Graph shows what Exchange changed (60)",
    )
    made.add_argument(
        "--exchange-redirect", action="store_true", help="Exchange's front door redirects"
    )
    made.add_argument(
        "--write-quota",
        type=_positive,
        nargs="?",
        const=WRITES_PER_150_S,
        metavar="N",
        help=f"writes in 150 seconds for an application ({WRITES_PER_150_S}; any number)",
    )
    made.add_argument("--write-conflicts", action="store_true", help="refuse writes that meet")
    made.add_argument("--faults", type=Path, help="JSON file of fault rules")
    made.add_argument("--replication-lag", type=float, default=0.0, metavar="S")
    made.add_argument(
        "--stale-reads", type=_seconds, default=0.0, metavar="S", help="seconds reads are behind"
    )
    made.add_argument(
        "--fresh-share", type=float, default=0.0, metavar="P", help="share of reads that are not"
    )
    made.add_argument("--license", choices=("free", "p1", "p2"), default="p2")
    made.add_argument("--cloud", choices=CLOUDS, default="global")
    made.add_argument("--without-permission", action="append", default=[], metavar="P")
    made.add_argument("--with-permission", action="append", default=[], metavar="P")
    made.add_argument(
        "--empty-pages",
        type=int,
        default=0,
        metavar="N",
        help="make every N-th page of a list an empty one (never)",
    )
    _add_log_options(made)
    made.add_argument(
        "--delta-page", type=_positive, default=200, metavar="N", help="objects a delta page (200)"
    )
    made.add_argument(
        "--delta-slice",
        type=_positive,
        default=400,
        metavar="N",
        help="members of one group on one delta page (400)",
    )
    made.add_argument(
        "--delta-replays",
        type=_count,
        default=0,
        metavar="N",
        help="earlier changes that a delta round tells of once more",
    )
    made.add_argument("--ready-file", type=Path, help="JSON of URLs and credentials, once ready")
    made.add_argument("--print-env", action="store_true", help="print settings for the shell")
    made.add_argument("--exit-with-stdin", action="store_true", help="end when stdin is closed")
    return made


def _add_log_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--sign-ins-per-day", type=_count, default=0, metavar="N")
    made.add_argument("--audits-per-day", type=_count, default=0, metavar="N")
    made.add_argument("--provisionings-per-day", type=_count, default=0, metavar="N")
    made.add_argument(
        "--audit-days", type=_count, default=30, metavar="N", help="days of invented past (30)"
    )
    made.add_argument(
        "--log-lag", type=_seconds, metavar="S", help="seconds until an event is in its log"
    )
    made.add_argument(
        "--log-late", type=_seconds, default=0.0, metavar="S", help="for some, up to so many more"
    )
    made.add_argument(
        "--log-repeats", type=_count, default=0, metavar="N", help="events that a page repeats"
    )
    made.add_argument("--log-disorder", action="store_true", help="pages in no order")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more seconds")
    return number


def _positive(text: str) -> int:
    number = _count(text)
    if number == 0:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 or more")
    return number


def run(argv: Sequence[str]) -> int:
    """Serve until interrupted. Returns the process's exit code: 0, or 2 for a bad option."""
    arguments = parser().parse_args(argv)
    try:
        with _tls_directory(arguments.tls_dir) as directory:
            return _serve(arguments, directory)
    except (StartError, TenantFileError, FaultRuleError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2


@contextlib.contextmanager
def _tls_directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="entra-simulator-") as made:
        yield Path(made)


def _tenant(arguments: argparse.Namespace) -> Tenant:
    if arguments.tenant is not None:
        return load(arguments.tenant)
    generate: Any = importlib.import_module("entra_pipeline.simulator.generate").generate
    groups = arguments.groups if arguments.groups is not None else arguments.users * 3 // 10
    tenant: Tenant = generate(
        users=arguments.users, groups=groups, seed=arguments.seed, license=arguments.license
    )
    return tenant


def _plant(directory: Directory, trail: Trail, rng: random.Random, asked: JsonObject) -> list[Any]:
    plant: Any = importlib.import_module("entra_pipeline.simulator.plant").plant
    made: list[Any] = plant(directory, trail, rng, directory.clock.now(), asked)
    return made


def _mutate(observe: Observe, directory: Directory, rng: Any, changes: int) -> list[Any]:
    mutate: Any = importlib.import_module("entra_pipeline.simulator.mutate").mutate
    made: list[Any] = mutate(directory, rng, changes, directory.clock.now(), observe)
    return made


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        license=arguments.license,
        cloud=arguments.cloud,
        latency_ms=arguments.latency_ms,
        throttle=arguments.throttle,
        seed=arguments.seed,
        empty_page_every=arguments.empty_pages,
        replication_lag_s=arguments.replication_lag,
        delta_page=arguments.delta_page,
        delta_slice=arguments.delta_slice,
        delta_replays=arguments.delta_replays,
        sign_ins_per_day=arguments.sign_ins_per_day,
        audits_per_day=arguments.audits_per_day,
        provisionings_per_day=arguments.provisionings_per_day,
        log_days=arguments.audit_days,
        log_lag_s=arguments.log_lag,
        log_late_s=arguments.log_late,
        log_repeats=arguments.log_repeats,
        log_disorder=arguments.log_disorder,
        write_quota=arguments.write_quota,
        granted=(frozenset(GRANTED) | frozenset(arguments.with_permission))
        - frozenset(arguments.without_permission),
    )


def _serve(arguments: argparse.Namespace, tls_directory: Path) -> int:
    # Building a tenant makes millions of objects that all stay: looking for garbage among them
    # again and again would double the time.
    gc.disable()
    files = certificates.prepare(tls_directory)
    options = _options(arguments)
    clock = Clock()
    tenant = _tenant(arguments)
    writer = _writer(tenant, arguments, tls_directory)
    directory = Directory(tenant, clock)
    client = _client(directory, options, files, tls_directory, arguments)
    identity = IdentityPlatform(directory, clock, [client] if writer is None else [client, writer])
    token_file = tls_directory / "federated_token"
    certificates.write_private(token_file, identity.federated_token(client).encode())
    faults = Faults(options.seed)
    if arguments.faults is not None:
        faults.replace(_read_json(arguments.faults))
    statistics = Statistics()
    throttle = Throttle(options.throttle, clock, directory.tenant.tenant_id, options.write_quota)
    recorded = Recorded()
    logs = build_logs(directory, clock, options, recorded)
    graph = Graph(directory, clock, options, identity, throttle, logs)
    graph.encoders.warm(hidden_kinds(options.granted))
    trail = Trail(directory, clock, recorded, options.seed)
    effects = Effects()
    contention = Contention(refuses=arguments.write_conflicts)
    replication = Replication(graph, clock, options.seed)
    replication.set(arguments.stale_reads, arguments.fresh_share)
    graph.reader = replication.reader
    service = Service(
        directory,
        clock,
        options,
        graph.gates,
        graph.encoders,
        trail,
        effects,
        random.Random(f"{options.seed}:writes"),
        replication,
        contention,
    )
    holds = Holds(directory, clock, trail, service.rng)
    service.state["holds"] = holds
    graph.writer = Writes(service).answer
    lists = Lists(service, arguments.back_sync)
    exchange = Exchange(service, identity, lists, redirects=arguments.exchange_redirect)
    graph.before += [holds.tick, replication.tick, lists.tick]
    control = Control(
        directory,
        clock,
        faults,
        statistics,
        partial(_mutate, trail.observe),
        graph.deltas,
        effects,
        holds,
        replication,
        throttle,
        contention,
        partial(_plant, directory, trail, service.rng),
    )
    app = App(graph, identity, control, faults, statistics, clock, contention, exchange)
    gc.enable()
    gc.collect()
    gc.freeze()

    secure = _sockets(arguments.port, "--port")
    plain = _sockets(arguments.http_port, "--http-port") if arguments.http else []
    url = f"https://localhost:{secure[0].getsockname()[1]}"
    info: JsonObject = {
        "graph_url": url,
        "authority_url": url,
        "exchange_url": url,
        "http_graph_url": f"http://localhost:{plain[0].getsockname()[1]}" if plain else None,
        "tenant_id": directory.tenant.tenant_id,
        "client_id": client.app_id,
        "client_secret": client.secret,
        "ca_file": str(files.ca.resolve()),
        "pid": os.getpid(),
        "client_certificate_file": str(files.client.resolve()),
        "federated_token_file": str(token_file.resolve()),
        "writer_client_id": writer.app_id if writer else None,
        "writer_client_secret": writer.secret if writer else None,
    }
    servers = [(_server(app, files.server), secure)]
    if plain:
        servers.append((_server(app, None), plain))
    import uvloop

    uvloop.run(_until_stopped(servers, info, arguments))
    return 0


def _client(
    directory: Directory,
    options: Options,
    files: certificates.Files,
    kept: Path,
    arguments: argparse.Namespace,
) -> Client:
    app_id = roles.derived_id(directory, "client")
    service_principals = directory.collection("service_principals").values()
    object_id = next(
        (each["id"] for each in service_principals if each.get("appId") == app_id),
        roles.derived_id(directory, "client service principal"),
    )
    return Client(
        app_id=app_id,
        object_id=object_id,
        secret=_secret(kept / "client_secret"),
        permissions=options.granted,
        certificates=[ClientCertificate.from_file(files.client)],
        federated=[("https://issuer.simulator.invalid", "entra_pipeline")],
        exchange_permissions=frozenset(EXCHANGE_GRANTED) - frozenset(arguments.without_permission),
        roles=_roles(directory, arguments.client_role),
    )


def _roles(directory: Directory, names: Sequence[str]) -> frozenset[str]:
    """Role definitions by display name or id."""
    known = directory.collection("role_definitions").values()
    ids = {str(each.get("displayName")).lower(): each["id"] for each in known}
    ids |= {each["id"]: each["id"] for each in known}
    for name in names:
        if name.lower() not in ids:
            raise StartError(
                f"--client-role: the tenant has no role '{name}'; give a display name or an id"
            )
    return frozenset(ids[name.lower()] for name in names)


def _writer(tenant: Tenant, arguments: argparse.Namespace, kept: Path) -> Client | None:
    if not arguments.writer:
        return None
    directory = Directory(tenant)
    app_id = roles.derived_id(directory, "writer")
    object_id = roles.derived_id(directory, "writer service principal")
    try:
        register(tenant, app_id, object_id, arguments.writer_role)
    except ValueError as error:
        raise StartError(f"--writer-role: {error}") from error
    withheld = frozenset(arguments.writer_without_permission)
    return Client(
        app_id,
        object_id,
        _secret(kept / "writer_client_secret"),
        frozenset(WRITER_GRANTED) - withheld,
        exchange_permissions=frozenset(EXCHANGE_GRANTED) - withheld,
    )


def _secret(path: Path) -> str:
    """A client secret: the one kept in the file, or a new one that is kept there."""
    if path.exists():
        return path.read_text().strip()
    secret = secrets.token_urlsafe(30)
    certificates.write_private(path, secret.encode())
    return secret


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"--faults {path}: cannot be read as JSON: {error}") from error


# Ports


def _sockets(port: int, option: str) -> list[socket.socket]:
    """Listening sockets on 127.0.0.1 and, where there is one, ::1, with the same port."""
    first = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        first.bind(("127.0.0.1", port))
    except OSError as error:
        raise StartError(f"{option} {port}: {error.strerror}; choose another or 0") from error
    made = [first]
    with contextlib.suppress(OSError):
        second = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(("::1", first.getsockname()[1]))
        made.append(second)
    return made


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, giving the application its transport: faults reset connections."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRANSPORT] = self.transport  # type: ignore[literal-required]


class _Server(uvicorn.Server):
    """A server that leaves signals to `_until_stopped`, which knows of all servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: App, certificate: Path | None) -> _Server:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
        ssl_keyfile=certificate,
    )
    return _Server(config)


async def _until_stopped(
    servers: list[tuple[_Server, list[socket.socket]]],
    info: JsonObject,
    arguments: argparse.Namespace,
) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    if arguments.exit_with_stdin:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else stop())
    tasks = [asyncio.create_task(server.serve(sockets)) for server, sockets in servers]
    while not all(server.started for server, _ in servers):
        await asyncio.sleep(0.005)
        if any(task.done() for task in tasks):
            break
    else:
        _announce(info, arguments)
    await asyncio.gather(*tasks)
    if arguments.ready_file is not None:
        arguments.ready_file.unlink(missing_ok=True)


def _announce(info: JsonObject, arguments: argparse.Namespace) -> None:
    if arguments.ready_file is not None:
        certificates.write_private(
            arguments.ready_file, json.dumps(info, indent=2).encode() + b"\n"
        )
    if arguments.print_env:
        for name, value in settings(info).items():
            print(f"export {name}={value}")
    else:
        print(f"simulating tenant {info['tenant_id']} at {info['graph_url']}")
    sys.stdout.flush()


def settings(info: JsonObject) -> dict[str, str]:
    """The environment under which the product talks to this simulator."""
    return {
        "ENTRA_TENANT_ID": info["tenant_id"],
        "ENTRA_CLIENT_ID": info["client_id"],
        "ENTRA_CLIENT_SECRET": info["client_secret"],
        "ENTRA_GRAPH_URL": info["graph_url"],
        "ENTRA_AUTHORITY_URL": info["authority_url"],
        "ENTRA_EXCHANGE_URL": info["exchange_url"],
        "ENTRA_CA_BUNDLE": info["ca_file"],
    }
