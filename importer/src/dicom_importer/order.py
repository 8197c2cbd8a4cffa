"""An operator's order to change or hand out a study, and the desk to oneself while it is carried out."""

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dicom_importer import exchange, places, plan, replacement, session
from dicom_importer.config import Config
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.plan import Declined
from dicom_importer.reasons import REASONS, Failure, Unavailable
from dicom_importer.replacement import Desk


@dataclass(frozen=True, slots=True)
class Order:
    """Who orders it and why, where it is told what came of it, and the time (UTC)."""

    who: str
    reason: str
    say: Callable[[str], None]
    now: Callable[[], datetime]


def carry(config: Config, say: Callable[[str], None], work: Callable[[Desk], None]) -> int:
    """Do it, after what a killed command left; says why it was not done and returns the exit status."""
    if not (config.state_dir / JOURNAL).exists():
        say("The importer has not been running yet: there is no journal.")
        return 1
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(session.archive(config))
        journal = stack.enter_context(contextlib.closing(Journal(config.state_dir / JOURNAL)))
        limits, folders = session.limits(config, journal), places.folders(config)
        desk = Desk(archive, journal, folders, limits, config.state_dir, config.audit_file)
        try:
            with contextlib.suppress(Failure):  # then it was taken back
                if replacement.resume(desk) or exchange.resume(desk):
                    say("What an interrupted command had begun is done now.")
            if not stack.enter_context(plan.held(config.state_dir)):
                say("Another correction, replacement or replay is under way: try again later.")
                return 1
            work(desk)
        except Declined as why:
            say(f"Nothing was changed: {why}")
        except Failure as failure:
            say(f"Nothing was changed: {REASONS[failure.code].found} {failure.detail}".rstrip())
        except Unavailable as absence:
            say(f"Not done ({absence.cause}). What was begun, the importer goes on with.")
        except (OSError, sqlite3.Error) as error:
            say(f"Not done ({error}). What was begun, the importer goes on with.")
        else:
            return 0
    return 1
