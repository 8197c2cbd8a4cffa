"""The command `dicom-importer`: the service and what an operator asks of it."""

import argparse
import re
import signal
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

from dicom_importer import config
from dicom_importer.config import Config


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; the exit status is 0 when all is well."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["realm"]:
        # Lazily: the service needs nothing of what reconciles the identity provider.
        from dicom_importer import realm  # noqa: PLC0415

        return realm.main(argv[1:])
    arguments = _parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](config.load(arguments.config), arguments)
    except (config.ConfigError, OSError) as error:
        sys.stderr.write(f"dicom-importer: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. What is done is noted: give the command again to go on.\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dicom-importer", description=__doc__)
    parser.add_argument(
        "--config", type=Path, default=config.CONFIG_FILE, help="default: %(default)s"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch the inboxes until told to stop")
    commands.add_parser("status", help="count what waits and what failed")
    commands.add_parser("probe", help="log in and search the archive once")
    explain = commands.add_parser("explain", help="say where a file is and why")
    explain.add_argument("path", type=Path)
    retry = commands.add_parser("retry", help="put failed files back into their inbox")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("paths", nargs="*", default=[], type=Path, metavar="PATH")
    which.add_argument("--clinic", default="", help="all that failed of this clinic")
    retry.add_argument("--reason", default="", help="only what failed for this reason")
    replace = commands.add_parser("replace", help="let a corrected export replace what is archived")
    replace.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    replay = commands.add_parser("replay", help="offer originals again to a restored archive")
    replay.add_argument("--since", required=True, type=date.fromisoformat, metavar="YYYY-MM-DD")
    replay.add_argument("--clinic", default="", help="default: all")
    verify = commands.add_parser("verify", help="compare journal, originals, archive and its disk")
    verify.add_argument("--clinic", default="", help="default: all")
    verify.add_argument("--repair", action="store_true", help="store anew what has an original")
    verify.add_argument("--again", action="store_true", help="begin anew what was cut off")
    verify.add_argument("--mb-per-s", type=float, default=0.0, metavar="N", help="read no faster")
    verify.add_argument("--json", action="store_true", help="a JSON line for each difference")
    delete = commands.add_parser("delete", help="delete a study or series for good")
    retention = commands.add_parser("retention", help="tell what has had its time, or delete it")
    retention.add_argument("--csv", action="store_true", help="for a spreadsheet")
    retention.add_argument(
        "--yes", action="store_true", help="delete it, and not only say what goes"
    )
    retention.add_argument("--reason", default="", help="why, for audit; needed with --yes")
    readmit = commands.add_parser("readmit", help="let what was deleted be imported again")
    move = commands.add_parser("move", help="let a study belong to another clinic")
    export = commands.add_parser("export", help="write a study's zip file to the standard output")
    correct = commands.add_parser("correct", help="correct a study's patient, told on the input")
    merge = commands.add_parser("merge", help="let one patient's studies be another's")
    delete.add_argument("--series", type=_uid, metavar="UID", help="only this series")
    delete.add_argument("--yes", action="store_true", help="delete it, and not only say what goes")
    move.add_argument("--to", required=True, metavar="CLINIC")
    merge.add_argument("--clinic", required=True)
    for command in (delete, readmit, move, export, correct, merge):
        command.add_argument("--reason", required=True, type=_reason, help="why, for audit")
        if command is not merge:
            command.add_argument("--study", required=True, type=_uid, metavar="UID")
    ordered = (delete, readmit, retention, move, export, correct, merge)
    for command in (replace, replay, verify, *ordered):
        needed = command is not verify
        command.add_argument("--by", required=needed, metavar="NAME", help="who does it, for audit")
    commands.add_parser("realm", help="reconcile the identity provider's realm", add_help=False)
    return parser


# Each imports lazily: the commands answer sooner without each other's libraries.


def _run(settings: Config, _: argparse.Namespace) -> int:
    # First of all: the threads that a library starts when it is loaded (numpy's, which pydicom
    # loads where it is there) would not wait for them but die of them.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    from dicom_importer.run import run  # noqa: PLC0415

    return run(settings, signals)


def _status(settings: Config, _: argparse.Namespace) -> int:
    from dicom_importer import inquire  # noqa: PLC0415

    lines, well = inquire.status(settings)
    _say("\n".join(lines))
    return 0 if well else 1


def _probe(settings: Config, _: argparse.Namespace) -> int:
    from dicom_importer import session  # noqa: PLC0415
    from dicom_importer.reasons import Unavailable  # noqa: PLC0415

    try:
        with session.archive(settings) as archive:
            # Whatever it finds: this UID is nobody's.
            archive.instances("1.2.3")
    except Unavailable as absence:
        _say(f"The archive does not answer: {absence.cause}.")
        return 1
    _say("A login and a search succeed.")
    return 0


def _explain(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer import explain  # noqa: PLC0415

    _say("\n".join(explain.explain(settings, arguments.path)))
    return 0


def _retry(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer import retry  # noqa: PLC0415

    wanted = retry.Wanted(tuple(arguments.paths), arguments.clinic, arguments.reason)
    return retry.retry(settings, wanted, _say)


def _replace(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer import replace  # noqa: PLC0415

    return replace.replace(settings, arguments.paths, arguments.by, _say, _now)


def _replay(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer import replay  # noqa: PLC0415

    wanted = replay.Wanted(arguments.since, arguments.clinic, arguments.by)
    return replay.replay(settings, wanted, _say, _now)


def _verify(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer import verify  # noqa: PLC0415

    if arguments.repair and not arguments.by:
        raise config.ConfigError("verify --repair needs --by NAME: who does it, for audit")
    wanted = verify.Wanted(
        arguments.clinic,
        arguments.by if arguments.repair else "",
        arguments.again,
        arguments.mb_per_s,
        arguments.json,
    )
    screen = verify.Screen(_say, _progress, 0.5 if sys.stderr.isatty() else 60.0)
    return verify.verify(settings, wanted, screen, _now)


def _carry(
    settings: Config, arguments: argparse.Namespace, work: Callable[..., None], **what: object
) -> int:
    from dicom_importer import order  # noqa: PLC0415

    # What is told of an export goes beside it.
    say = _say_beside if arguments.command == "export" else _say
    made = order.Order(arguments.by, arguments.reason, say, _now)
    return order.carry(settings, say, partial(work, order=made, **what))


def _delete(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer.delete import delete  # noqa: PLC0415

    which = arguments.study, arguments.series or ""
    return _carry(settings, arguments, delete, which=which, sure=arguments.yes)


def _retention(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer import retention, retire  # noqa: PLC0415

    if arguments.yes:
        try:
            arguments.reason = _reason(arguments.reason)
        except argparse.ArgumentTypeError as error:
            raise config.ConfigError(f"retention --yes needs --reason TEXT: {error}") from None
    kept = retire.Kept(retention.rule(settings), settings.backup_target, settings.archive_dir)
    wanted = {"kept": kept, "sure": arguments.yes, "as_csv": arguments.csv}
    return _carry(settings, arguments, retire.run, **wanted)


def _readmit(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer.delete import readmit  # noqa: PLC0415

    return _carry(settings, arguments, readmit, study_uid=arguments.study)


def _move(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer.correct import move  # noqa: PLC0415

    return _carry(settings, arguments, move, study_uid=arguments.study, to=arguments.to)


def _export(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer.export import export  # noqa: PLC0415

    return _carry(
        settings,
        arguments,
        export,
        study_uid=arguments.study,
        out=sys.stdout.buffer,
        zone=settings.time_zone,
    )


def _correct(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer import corrections  # noqa: PLC0415
    from dicom_importer.correct import correct  # noqa: PLC0415

    try:
        patient = corrections.values(_input())
    except corrections.BadValueError as error:
        raise config.ConfigError(error) from None
    return _carry(settings, arguments, correct, study_uid=arguments.study, patient=patient)


def _merge(settings: Config, arguments: argparse.Namespace) -> int:
    from dicom_importer.correct import merge  # noqa: PLC0415

    given = dict(line.split("=", 1) for line in _input() if "=" in line)
    ids = given.get("FROM", "").strip(), given.get("TO", "").strip()
    if not all(ids) or ids[0] == ids[1]:
        raise config.ConfigError("merge needs FROM=… and TO=…, two patient IDs, on its input")
    return _carry(settings, arguments, merge, clinic=arguments.clinic, ids=ids)


def _input() -> list[str]:
    """Read the standard input, where patients' data comes: what is in argv, others on the host see."""
    return sys.stdin.buffer.read(_INPUT_BYTES).decode(errors="strict").splitlines()


def _uid(text: str) -> str:
    if not re.fullmatch(r"[0-9.]{1,64}", text):
        raise argparse.ArgumentTypeError("it is no UID")
    return text


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why: it stands in the audit")
    return " ".join(text.split())


_INPUT_BYTES = 1 << 16
_COMMANDS: dict[str, Callable[[Config, argparse.Namespace], int]] = {
    "run": _run,
    "status": _status,
    "probe": _probe,
    "explain": _explain,
    "retry": _retry,
    "replace": _replace,
    "replay": _replay,
    "verify": _verify,
    "delete": _delete,
    "readmit": _readmit,
    "retention": _retention,
    "move": _move,
    "export": _export,
    "correct": _correct,
    "merge": _merge,
}


def _say(text: str) -> None:
    # A file's name may be no text: what cannot be shown is shown as an escape.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def _say_beside(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _progress(text: str) -> None:
    """Overwrite the last line where somebody looks at it, else write one."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
    elif text:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _now() -> datetime:
    return datetime.now(UTC)
