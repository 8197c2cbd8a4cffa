"""The command `dicom-backup`: the service, one run, the daily check, what to say of it."""

import argparse
import json
import os
import signal
import sys
import threading
import time

from dicom_backup import before, config, record, restic, restore, state, status
from dicom_backup.config import Config
from dicom_backup.dumps import DumpError
from dicom_backup.restic import ResticError
from dicom_backup.restore_run import RestoreError
from dicom_backup.run import Tools, run
from dicom_backup.service import Schedule
from dicom_backup.upkeep import repair, upkeep


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; the exit status is 0 when all is well."""
    argv = sys.argv[1:] if argv is None else argv
    # What it writes is for nobody else.
    os.umask(0o077)
    if argv[:1] == ["before"]:
        return before.main(argv[1:])
    arguments = _parser().parse_args(argv)
    try:
        settings = config.load()
        return _dispatch(arguments, settings)
    except (config.ConfigError, DumpError, OSError, ResticError, RestoreError, ValueError) as error:
        sys.stderr.write(f"dicom-backup: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dicom-backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="back up whenever it is time, until told to stop")
    commands.add_parser(
        "metrics", help="answer Prometheus only: something else calls run and check"
    )
    once = commands.add_parser("run", help="back up now")
    once.add_argument("--dump", action="store_true", help="with new dumps, whatever their age")
    check = commands.add_parser("check", help="check the repository and remove what is too old")
    check.add_argument("--everything", action="store_true", help="read all of the data")
    commands.add_parser("repair", help="take out what the check found damaged, then back up anew")
    commands.add_parser("drilled", help="note that a restore was practised today")
    commands.add_parser("status", help="say how old the last backup is and what is wrong")
    restore.add_arguments(commands.add_parser("restore", help="bring back one part of a backup"))
    commands.add_parser(
        "before", help="keep the databases before an upgrade, or bring them back", add_help=False
    )
    commands.add_parser("list", help="list the complete runs, eldest first, as JSON")
    return parser


def _dispatch(arguments: argparse.Namespace, settings: Config) -> int:
    if arguments.command == "drilled":
        settings.drill_file.touch()
    if arguments.command in ("drilled", "status"):
        return _status(settings)
    if arguments.command == "restore":
        return restore.run(settings, arguments, _say)
    tools = Tools(settings, restic.repository(settings))
    if arguments.command in ("serve", "metrics"):
        return _serve(tools, works=arguments.command == "serve")
    if arguments.command == "check":
        return (
            1 if upkeep(tools, everything=arguments.everything).check_error else _status(settings)
        )
    if arguments.command == "list":
        runs = [{"snapshot": s.id, "time": s.time} for s in record.complete(tools.repository)]
        sys.stdout.write(json.dumps(runs, indent=1) + "\n")
        return 0
    if arguments.command == "repair":
        sys.stdout.write("\n".join(repair(tools)) + "\n")
    known = run(tools, dump=arguments.command == "repair" or arguments.dump)
    if known.error or known.dump_error:
        raise ResticError(known.error or known.dump_error)
    return _status(settings)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _status(settings: Config) -> int:
    well = True
    for line in status.lines(settings, state.load(settings.state_file), time.time()):
        sys.stdout.write(f"{' ' if line.well else '!'} {line.text}\n")
        well &= line.well
    return 0 if well else 1


def _serve(tools: Tools, *, works: bool) -> int:
    # First of all, so that no thread dies of them.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # Lazily: one run needs neither.
    from access_audit import web  # noqa: PLC0415

    from dicom_backup import metrics  # noqa: PLC0415

    address = tools.config.listen_host, tools.config.listen_port
    schedule = threading.Thread(target=Schedule(tools).loop, name="schedule", daemon=True)
    server = web.serve(
        address,
        lambda: schedule.is_alive() or not works,
        metrics.registry(tools.config, time.time),
    )
    if works:
        schedule.start()
    # A run that is cut off here is cut off as by a kill: the next one goes on.
    signal.sigwait(signals)
    server.shutdown()
    return 0
