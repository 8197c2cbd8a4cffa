"""Teeth by ISO 3950, and the 18 places of a full mount of intra-oral radiographs."""

from __future__ import annotations

from dataclasses import dataclass

# PS3.16 CID 4018, permanent teeth by the two digits of ISO 3950: quadrant, and tooth from the middle.
TEETH = {
    11: ("422653006", "Permanent maxillary right central incisor tooth"),
    12: ("424877001", "Permanent maxillary right lateral incisor tooth"),
    13: ("860767006", "Permanent maxillary right canine tooth"),
    14: ("57826002", "Permanent maxillary right first premolar tooth"),
    15: ("36492000", "Permanent maxillary right second premolar tooth"),
    16: ("865995000", "Permanent maxillary right first molar tooth"),
    17: ("863902006", "Permanent maxillary right second molar tooth"),
    18: ("68085002", "Permanent maxillary right third molar tooth"),
    21: ("424399000", "Permanent maxillary left central incisor tooth"),
    22: ("423185002", "Permanent maxillary left lateral incisor tooth"),
    23: ("860780009", "Permanent maxillary left canine tooth"),
    24: ("61897005", "Permanent maxillary left first premolar tooth"),
    25: ("23226009", "Permanent maxillary left second premolar tooth"),
    26: ("865988009", "Permanent maxillary left first molar tooth"),
    27: ("863901004", "Permanent maxillary left second molar tooth"),
    28: ("87704003", "Permanent maxillary left third molar tooth"),
    31: ("425106001", "Mandibular left central incisor tooth"),
    32: ("423331005", "Mandibular left lateral tooth"),
    33: ("860782001", "Mandibular left canine tooth"),
    34: ("2400006", "Mandibular left first premolar tooth"),
    35: ("24573005", "Mandibular left second premolar tooth"),
    36: ("866006002", "Mandibular left first molar tooth"),
    37: ("863898000", "Mandibular left second molar tooth"),
    38: ("74344005", "Mandibular left third molar tooth"),
    41: ("424575004", "Mandibular right central incisor tooth"),
    42: ("423937004", "Mandibular right lateral incisor tooth"),
    43: ("860785004", "Mandibular right canine tooth"),
    44: ("80140008", "Mandibular right first premolar tooth"),
    45: ("8873007", "Mandibular right second premolar tooth"),
    46: ("866005003", "Mandibular right first molar tooth"),
    47: ("863899008", "Mandibular right second molar tooth"),
    48: ("38994002", "Mandibular right third molar tooth"),
}
# PS3.16 CID 4017, by the tooth's second digit: what is said of an image that names no teeth.
MODIFIERS = {
    1: ("699453001", "Central incisor region"),
    2: ("699511000", "Lateral incisor region"),
    3: ("699510004", "Canine region"),
    4: ("699509009", "First premolar region"),
    5: ("699508001", "Second premolar region"),
    6: ("699507006", "First molar region"),
    7: ("699505003", "Second molar region"),
    8: ("699503005", "Third molar region"),
}
# PS3.16 CID 4016.
REGIONS = {
    "jaws": ("661005", "SCT", "Jaw region"),
    "lower": ("91609006", "SCT", "Mandible"),
    "upper": ("70925003", "SCT", "Maxilla"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """One radiograph of a mount that is seen as the patient is faced: the patient's right is left."""

    name: str
    teeth: tuple[int, ...]

    @property
    def jaw(self) -> str:
        """Of which jaw it is, a key of REGIONS: a bitewing shows the crowns of both."""
        upper = {tooth < 30 for tooth in self.teeth}
        return "jaws" if len(upper) == 2 else "upper" if upper.pop() else "lower"

    @property
    def laterality(self) -> str:
        """Image Laterality (0020,0062): B across the middle (PS3.3 C.8.11.9)."""
        sides = {"R" if tooth // 10 in (1, 4) else "L" for tooth in self.teeth}
        return "B" if len(sides) == 2 else sides.pop()

    @property
    def middle(self) -> int:
        """The second digit of the tooth that it is of, a key of MODIFIERS."""
        digits = sorted(tooth % 10 for tooth in self.teeth)
        return digits[-1] if self.is_upright else digits[len(digits) // 2]

    @property
    def is_upright(self) -> bool:
        """Whether the sensor stands: it does before front teeth."""
        return all(tooth % 10 <= 3 for tooth in self.teeth)


MOUNT = (
    Place("upper right molars", (18, 17, 16)),
    Place("upper right premolars", (15, 14)),
    Place("upper right canine", (13, 12)),
    Place("upper incisors", (11, 21)),
    Place("upper left canine", (22, 23)),
    Place("upper left premolars", (24, 25)),
    Place("upper left molars", (26, 27, 28)),
    Place("right molar bitewing", (17, 16, 47, 46)),
    Place("right premolar bitewing", (15, 14, 45, 44)),
    Place("left premolar bitewing", (24, 25, 34, 35)),
    Place("left molar bitewing", (26, 27, 36, 37)),
    Place("lower right molars", (48, 47, 46)),
    Place("lower right premolars", (45, 44)),
    Place("lower right canine", (43, 42)),
    Place("lower incisors", (41, 31)),
    Place("lower left canine", (32, 33)),
    Place("lower left premolars", (34, 35)),
    Place("lower left molars", (36, 37, 38)),
)
