"""What the archive's index lists of the files on its disk, and the moving aside of those that it does not list."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from clinic_access.storage import MAX_FILES, path

from dicom_importer.archive import Archive

# A page is some hundred milliseconds of the database.
_PAGE = 2_000
# Orthanc's number of the images themselves; every other file is made of them.
IMAGE = 1


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the index lists it; without a uuid an image of which it lists none.

    `size_bytes` and `md5` are those of the file, `plain_md5` that of the image in it; `resource`
    and `study` are the archive's identifiers of what it belongs to, `clinic` is the study's.
    """

    id: int
    filetype: int
    uuid: str
    size_bytes: int
    md5: str
    plain_md5: str
    resource: str
    study: str
    study_uid: str
    sop_uid: str
    clinic: str

    @property
    def key(self) -> tuple[int, int]:
        """Where it stands in the listing."""
        return self.id, self.filetype

    @property
    def is_image(self) -> bool:
        """Whether it is what was stored, and nothing made of that."""
        return self.filetype == IMAGE and bool(self.sop_uid)

    def path(self, storage: Path) -> Path:
        """Where it lies."""
        return path(storage, self.uuid)


def pages(archive: Archive, after: tuple[int, int]) -> Iterator[list[Listed]]:
    """Yield everything in pages, from after a key; raises Unavailable."""
    while found := _page(archive, after, _PAGE):
        yield found
        after = found[-1].key


def is_listed(archive: Archive, one: Listed) -> bool:
    """Say whether the index lists it still, just as it did; raises Unavailable."""
    return _page(archive, (one.id, one.filetype - 1), 1) == [one]


def set_aside(archive: Archive, uuids: list[str]) -> set[str]:
    """Have files moved into quarantine that the index does not list; returns which were; raises Unavailable."""
    moved: set[str] = set()
    for start in range(0, len(uuids), MAX_FILES):
        moved.update(archive.ask("/clinic-access/set-aside", uuids[start : start + MAX_FILES]))
    return moved


def _page(archive: Archive, after: tuple[int, int], count: int) -> list[Listed]:
    names = [field.name for field in fields(Listed)]
    answer = archive.ask("/clinic-access/files", [*after, count])
    return [Listed(**{name: one[name] for name in names}) for one in answer]
