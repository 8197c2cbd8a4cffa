"""`dicom-importer replace`: a corrected export takes the place of what the archive holds.

For files in failed/ with the reason other_version, one by one, and for those with other_patient,
study by study: the archive must never hold a study under two patients. What is old leaves the
archive only after the new was read and found to fit, and after the old bytes were copied and
compared; if the archive then refuses what is new, the old is put back. A killed command is finished
by the running service. When it is done the old is gone for good, but for its originals in
processed/. Who did it is in the audit.
"""

import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dicom_importer import errand, places, plan, prepare, replacement, session
from dicom_importer.config import Config
from dicom_importer.files import Place
from dicom_importer.journal import JOURNAL, Journal
from dicom_importer.plan import Declined, Plan
from dicom_importer.reasons import REASONS, Failure, Unavailable
from dicom_importer.replacement import Desk

TRIES = 4
FIRST_DELAY_S = 1.0
GRACE_S = 1.0


def replace(
    config: Config,
    paths: list[Path],
    who: str,
    say: Callable[[str], None],
    now: Callable[[], datetime],
) -> int:
    """Let each file take the place of what the archive holds; returns the exit status."""
    if not (config.state_dir / JOURNAL).exists():
        say("The importer has not been running yet: there is no journal.")
        return 1
    folders = places.folders(config)
    missing = places.missing(folders.failed, paths, say)
    well = not missing
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(session.archive(config))
        journal = stack.enter_context(contextlib.closing(Journal(config.state_dir / JOURNAL)))
        if errand.read(config.state_dir):
            say("A correction was begun: try again when the importer has ended it.")
            return 1
        if not stack.enter_context(plan.held(config.state_dir)):
            say("Another replacement is under way: try again when it has ended.")
            return 1
        limits = session.limits(config, journal)
        desk = Desk(archive, journal, folders, limits, config.state_dir, config.audit_file)
        touched: set[str] = set()
        if left := plan.read(desk.state):
            name = left[0].source if len(left) == 1 else left[0].study_uid
            well &= _told(name, say, functools.partial(_persist, desk, left, touched))
        tops = [places.below(path, folders.failed) or "" for path in paths if path not in missing]
        studies: dict[str, list[Place]] = {}
        for top in tops:
            for place in places.failed_files(folders.failed, top):
                row = places.record(journal, place, failed=True)
                if row and row.decision.verdict.reason == "other_patient":
                    clinic = row.arrival.clinic
                    studies.setdefault(f"{clinic}: study {row.identity.study_uid}", []).append(
                        place
                    )
                    continue
                work = functools.partial(_image, desk, place, who, now, touched)
                well &= _told(place.path, say, work)
        for name, files in studies.items():
            work = functools.partial(_study, desk, files, who, now, touched)
            well &= _told(name, say, work)
        for uid in sorted(touched):
            # Once for each study, since all of it is read.
            replacement.refresh(archive, uid)
    return 0 if well else 1


def _told(name: str, say: Callable[[str], None], work: Callable[[], None]) -> bool:
    """Do it and say what came of it."""
    try:
        work()
    except Declined as why:
        say(f"{name}: {why}")
    except Failure as failure:
        say(f"{name}: {REASONS[failure.code].found} {failure.detail}".rstrip())
    except Unavailable as absence:
        say(f"{name}: not done ({absence.cause}). What was begun, the importer goes on with.")
    except (OSError, sqlite3.Error) as error:
        say(f"{name}: not done ({error}). What was begun, the importer goes on with.")
    else:
        say(f"{name}: it is in the archive now, and the older version is not.")
        return True
    return False


def _image(
    desk: Desk, place: Place, who: str, now: Callable[[], datetime], touched: set[str]
) -> None:
    todo = (prepare.image(desk, place, who, now()),)
    plan.commit(desk.state, todo)
    _persist(desk, todo, touched)


def _study(
    desk: Desk, files: list[Place], who: str, now: Callable[[], datetime], touched: set[str]
) -> None:
    todo = prepare.study(desk, files, who, now())
    plan.commit(desk.state, todo)
    # A worker that had not seen the plan may have begun to send something of this study.
    time.sleep(GRACE_S)
    try:
        prepare.check_still(desk, todo)
    except BaseException:
        plan.end(desk.state)
        raise
    _persist(desk, todo, touched)


def _persist(desk: Desk, todo: tuple[Plan, ...], touched: set[str]) -> None:
    for attempt in range(TRIES):
        try:
            replacement.carry_out(desk, todo)
            touched.add(todo[0].study_uid)
        except Unavailable:
            if attempt == TRIES - 1:
                raise
            time.sleep(FIRST_DELAY_S * (1 << attempt))
        else:
            return
