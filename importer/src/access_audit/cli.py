"""The command `dicom-audit`: the service, the report and the check of the digests."""

import argparse
import os
import signal
import sys
import threading
import time
from datetime import UTC, date, datetime

from access_audit import codes, config, digest, files, report
from access_audit.config import Config
from access_audit.record import Record, Result, What, Who, identify


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; the exit status is 0 when all is well."""
    arguments = _parser().parse_args(argv)
    try:
        settings = config.load()
        if arguments.command == "run":
            return _run(settings)
        if arguments.command == "check":
            return _check(settings)
        return _report(settings, arguments)
    except (config.ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"dicom-audit: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dicom-audit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="record accesses until told to stop")
    commands.add_parser("check", help="say whether records were changed or removed")
    wanted = commands.add_parser("report", help="say who looked at a study, or what a person did")
    wanted.add_argument("--study", default="", metavar="UID")
    wanted.add_argument("--user", default="", metavar="NAME")
    wanted.add_argument("--from", default="", dest="first", type=_day, metavar="YYYY-MM-DD")
    wanted.add_argument("--to", default="", dest="last", type=_day, metavar="YYYY-MM-DD")
    wanted.add_argument("--csv", action="store_true")
    wanted.add_argument("--by", required=True, metavar="NAME", help="who asks, for the audit")
    return parser


def _day(text: str) -> str:
    return str(date.fromisoformat(text)) if text else ""


def _run(settings: Config) -> int:
    # First of all, so that no thread dies of them.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # What it writes is for nobody else.
    os.umask(0o077)
    # Lazily: the report answers sooner without them.
    from urllib3 import PoolManager  # noqa: PLC0415

    from access_audit import web  # noqa: PLC0415
    from access_audit.keycloak import EventStore  # noqa: PLC0415
    from access_audit.service import Auditor, Clocks  # noqa: PLC0415

    http = PoolManager()
    store = EventStore(http, settings.secret_file, time.monotonic)
    auditor = Auditor(settings, store, http, Clocks())

    def end() -> None:
        signal.sigwait(signals)
        auditor.stop.set()

    threading.Thread(target=end, name="signals", daemon=True).start()
    address = settings.listen_host, settings.listen_port
    server = web.serve(address, auditor.healthy, auditor.metrics.registry)
    auditor.loop()
    server.shutdown()
    return 0


def _report(settings: Config, arguments: argparse.Namespace) -> int:
    wanted = report.Wanted(arguments.study, arguments.user, arguments.first, arguments.last)
    if not (wanted.study or wanted.user):
        raise ValueError("name a study or a person: --study UID, --user NAME")
    found = report.rows(settings.access_dir, settings.importer_dir, wanted)
    now_s = time.time()
    used = Record(
        id=identify("report", arguments.by, str(now_s)),
        time_s=now_s,
        what=What(codes.AUDIT_LOG_USED, "R"),
        who=Who(name=arguments.by, verified=True),
        result=Result(codes.SUCCESS, "reported"),
        study_uid=wanted.study,
        target=wanted.user,
    )
    files.append(settings.access_dir, [used])
    sys.stdout.write((report.as_csv if arguments.csv else report.table)(found) + "\n")
    return 0


def _check(settings: Config) -> int:
    now = datetime.now(UTC)
    first_kept = files.first_kept(settings.retention_years, now)
    wrong = digest.check(settings.access_dir, settings.importer_dir, first_kept)
    for line in wrong:
        sys.stdout.write(line + "\n")
    sys.stdout.write("The audit is NOT as it was written.\n" if wrong else "The audit is whole.\n")
    return 1 if wrong else 0
