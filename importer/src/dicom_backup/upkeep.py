"""The daily part: check the repository, forget what is old, prune once a week; and mending it on demand."""

from dicom_importer import log

from dicom_backup import backed_up, checking, retention, state
from dicom_backup.restic import ResticError
from dicom_backup.run import Tools, alone, open_repository
from dicom_backup.state import State

DAY_S = 86400.0
WEEK_S = 7 * DAY_S


def upkeep(tools: Tools, *, everything: bool = False) -> State:
    """Do what is due once a day and note what it came to; `everything` reads all of the data.

    Nothing is raised that the state can say.
    """
    with alone(tools.config):
        known = state.load(tools.config.state_file)
        known.target = tools.config.target
        _check(tools, known, everything=everything)
        state.save(tools.config.state_file, known)
        backed_up.write(tools.config, known)
        # Of a repository that is not whole nothing is thrown away.
        if tools.config.prune and not known.check_error:
            _retain(tools, known)
            state.save(tools.config.state_file, known)
        return known


def repair(tools: Tools) -> list[str]:
    """Take out what the check found damaged; the next run reads everything anew. Raises ResticError."""
    with alone(tools.config):
        known = state.load(tools.config.state_file)
        open_repository(tools, known)
        known.reread = True
        # First: a kill in between reads once too often.
        state.save(tools.config.state_file, known)
        if not tools.config.prune:
            # What is damaged there stays named until a check finds it gone.
            return [_on_the_server(known.damaged_packs)]
        said = checking.repair(tools.repository, known.damaged_packs)
        known.damaged_packs = []
        state.save(tools.config.state_file, known)
        return said


def _on_the_server(packs: list[str]) -> str:
    which = f"`restic repair packs {' '.join(packs)}` and " if packs else ""
    return (
        f"BACKUP_PRUNE=no: nothing can be taken out from here. On the server, {which}`restic repair index`"
        " first, then this command again; everything here is read anew now"
    )


def _check(tools: Tools, known: State, *, everything: bool) -> None:
    parts = 1 if everything else checking.PARTS
    part = known.check_part % parts + 1
    try:
        open_repository(tools, known)
        found = checking.check(tools.repository, part, parts)
    except ResticError as error:
        known.check_error = str(error)
    else:
        known.check_error = found.words
        known.damaged_packs = sorted({*known.damaged_packs, *found.packs}) if found.errors else []
        known.check_part = part if not everything else known.check_part
    known.checked_s = tools.clocks.now_s()
    log.line("check", part=part, parts=parts, error=known.check_error)


def _retain(tools: Tools, known: State) -> None:
    now_s = tools.clocks.now_s()
    try:
        retention.forget(tools.config, tools.repository)
        known.forgot_s = now_s
        if now_s - known.pruned_s >= WEEK_S:
            retention.prune(tools.repository)
            known.pruned_s = now_s
    except ResticError as error:
        known.retention_error = str(error)
        log.line("retention_failed", error=known.retention_error)
    else:
        known.retention_error = ""
