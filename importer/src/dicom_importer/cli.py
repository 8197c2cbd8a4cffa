"""The command `dicom-importer`: the service and what an operator asks of it."""

import argparse
import sys
from pathlib import Path

from dicom_importer import config, inquire


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; the exit status is 0 when all is well."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["realm"]:
        # Lazily: the service needs nothing of what reconciles the identity provider.
        from dicom_importer import realm  # noqa: PLC0415

        return realm.main(argv[1:])
    parser = argparse.ArgumentParser(prog="dicom-importer", description=__doc__)
    parser.add_argument(
        "--config", type=Path, default=config.CONFIG_FILE, help="default: %(default)s"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch the inboxes until told to stop")
    commands.add_parser("status", help="count what waits and what failed")
    explain = commands.add_parser("explain", help="say where a file is and why")
    explain.add_argument("path", type=Path)
    commands.add_parser("realm", help="reconcile the identity provider's realm", add_help=False)
    arguments = parser.parse_args(argv)
    try:
        settings = config.load(arguments.config)
        if arguments.command == "run":
            # Lazily: the other commands answer sooner without the service's libraries.
            from dicom_importer.run import run  # noqa: PLC0415

            return run(settings)
        if arguments.command == "status":
            lines, well = inquire.status(settings)
        else:
            lines, well = inquire.explain(settings, arguments.path), True
    except (config.ConfigError, OSError) as error:
        sys.stderr.write(f"dicom-importer: {error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0 if well else 1
