"""What is to be said of the backup: a line each, and whether it is well."""

from collections.abc import Iterator
from dataclasses import dataclass

from dicom_backup.config import DRILL_STALE_AFTER_S, Config
from dicom_backup.state import State


@dataclass(frozen=True, slots=True)
class Line:
    """One line for the operator."""

    text: str
    well: bool


def lines(config: Config, known: State, now_s: float) -> Iterator[Line]:
    """Say how old the last backup, dump and check are, and what went wrong."""
    age_s = now_s - known.succeeded_s
    if known.succeeded_s:
        took = f"took {known.duration_s:.0f} s, added {known.added_bytes / 1e6:.1f} MB"
        text = f"backup: the last one is {_ago(age_s)} old ({took}), at {config.target}"
        yield Line(text, well=age_s <= config.stale_after_s)
    else:
        yield Line(f"backup: there is none yet at {config.target}", well=False)
    if known.error:
        yield Line(f"backup: {known.error}", well=False)
    if known.dumped_s:
        dump_s = now_s - known.dumped_s
        yield Line(
            f"backup: the databases as of {_ago(dump_s)} ago",
            well=dump_s <= config.dump_stale_after_s,
        )
    if known.dump_error:
        yield Line(f"backup: {known.dump_error}", well=False)
    if known.realm_error:
        yield Line(f"backup: {known.realm_error}", well=False)
    elif known.realm_s:
        yield Line(
            f"backup: {known.realm_people} people exported {_ago(now_s - known.realm_s)} ago,"
            " as many as Keycloak has",
            well=True,
        )
    if known.check_error:
        yield Line(f"backup: {known.check_error}", well=False)
    elif known.checked_s:
        yield Line(
            f"backup: the check {_ago(now_s - known.checked_s)} ago found it whole", well=True
        )
    yield from _drill(config, known, now_s)
    if known.retention_error:
        yield Line(f"backup: older ones could not be removed: {known.retention_error}", well=False)


def _drill(config: Config, known: State, now_s: float) -> Iterator[Line]:
    age_s = config.drill_age_s(known.first_s or now_s, now_s)
    if config.drill_file.exists():
        text = f"backup: a restore was practised {_ago(age_s)} ago"
        yield Line(text, well=age_s <= DRILL_STALE_AFTER_S)
    elif age_s > DRILL_STALE_AFTER_S:
        yield Line(f"backup: no restore was practised in its {_ago(age_s)}", well=False)


def _ago(seconds: float) -> str:
    if seconds < 7200:  # noqa: PLR2004 - two hours
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"  # noqa: PLR2004 - two days
