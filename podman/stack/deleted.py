"""What backups still hold of a study that was deleted here, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack.settings import Settings

NONE = "Nothing is backed up here: no backup holds it."
ADDED_TO = (
    "Backups at {target} hold it, with the dumps of the databases, until they are removed there:"
    " BACKUP_PRUNE=no."
)
KEPT = (
    "Backups at {target} hold it, with the dumps of the databases, for up to {months} months: they"
    " keep all of two days, then {daily} daily, {weekly} weekly and {months} monthly ones"
    " (BACKUP_KEEP_…)."
)
LINKED = "A second link to its files, dicom/.by-day/, goes with the next dumps, within an hour."


def backups(settings: Settings) -> str:
    """Say it, by the settings."""
    values = settings.values
    if not values["BACKUP_TARGET"]:
        return NONE
    text = ADDED_TO if values["BACKUP_PRUNE"] == "no" else KEPT
    kept = {key: values[f"BACKUP_KEEP_{key.upper()}"] for key in ("daily", "weekly")}
    months = values["BACKUP_KEEP_MONTHLY"]
    return f"{text.format(target=values['BACKUP_TARGET'], months=months, **kept)}\n{LINKED}"
