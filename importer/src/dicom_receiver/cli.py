"""The command `dicom-receiver`: the service, and who may store."""

import argparse
import signal
import sys
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from dicom_importer.config import CONFIG_FILE, ConfigError

from dicom_receiver import config, senders
from dicom_receiver.config import Config

ASK_S = 5.0
# What status tells: the metric, and what it counts, in words.
_TOLD = {
    "dicom_receiver_stored_total": "objects stored",
    "dicom_receiver_refused_total": "objects refused",
    "dicom_receiver_rejected_total": "associations rejected",
}


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; the exit status is 0 when all is well."""
    arguments = _parser().parse_args(argv)
    try:
        settings = config.load(arguments.config)
        if arguments.command == "run":
            return _run(settings)
        if arguments.command == "status":
            return _status(settings)
        if arguments.command == "sender":
            return _add(settings, arguments)
        if arguments.command == "remove-sender":
            return _remove(settings, arguments)
        return _list(settings)
    except (ConfigError, senders.SenderError, OSError) as error:
        sys.stderr.write(f"dicom-receiver: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dicom-receiver", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG_FILE, help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="take what known devices store until told to stop")
    commands.add_parser("status", help="count what was stored and refused since the start")
    commands.add_parser("senders", help="list who may store into which clinic")
    add = commands.add_parser("sender", help="let a device store into a clinic")
    add.add_argument("--clinic", required=True)
    remove = commands.add_parser("remove-sender", help="let a device store no more")
    for command in (add, remove):
        command.add_argument("--aet", required=True, help="the device's own (calling) AE title")
        command.add_argument(
            "--address", required=command is add, default="", help="its address, or its network"
        )
    return parser


def _run(settings: Config) -> int:
    # First of all, so that no thread dies of them.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # Lazily: the commands answer sooner without pynetdicom.
    from dicom_receiver import service  # noqa: PLC0415

    return service.run(settings, signals)


def _add(settings: Config, arguments: argparse.Namespace) -> int:
    new = senders.sender(arguments.clinic, arguments.aet, arguments.address)
    if not (settings.inbox_dir / new.clinic).is_dir():
        raise senders.SenderError(f"there is no clinic {new.clinic}: make it first")
    senders.add(settings.senders_file, new)
    _say(f"{new.ae_title} from {new.network} stores into clinic {new.clinic}")
    return 0


def _remove(settings: Config, arguments: argparse.Namespace) -> int:
    network = arguments.address
    if network:
        network = senders.sender("any", arguments.aet, network).network
    for one in senders.remove(settings.senders_file, arguments.aet, network):
        _say(f"{one.ae_title} from {one.network} no longer stores into clinic {one.clinic}")
    return 0


def _list(settings: Config) -> int:
    known = senders.read(settings.senders_file)
    for one in known:
        _say(f"{one.clinic:32} {one.ae_title:16} {one.network}")
    if not known:
        _say("nobody may store yet: register each device with its AE title and address")
    return 0


def _status(settings: Config) -> int:
    """Say what was counted; a line that is not well begins with an exclamation mark."""
    known = len(senders.read(settings.senders_file))
    url = f"http://{settings.metrics_host}:{settings.metrics_port}/metrics"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=ASK_S) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as error:
        _say(f"! DICOM receiver: it does not answer ({error})")
        return 1
    counts = dict.fromkeys(_TOLD, 0.0)
    for line in lines:
        name = line.partition("{")[0]
        if name in counts:
            counts[name] += float(line.rpartition(" ")[2])
    told = ", ".join(f"{counts[name]:.0f} {words}" for name, words in _TOLD.items())
    _say(f"  DICOM receiver {settings.ae_title}: {known} senders; since its start {told}")
    if not known:
        _say("! DICOM receiver: nobody may store: register each device")
    return 0 if known else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
