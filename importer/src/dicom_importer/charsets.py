"""Encodes a text in the character set of the data set that it is put into."""

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS, PersonName

from dicom_importer.reasons import Rejected


def encode(text: str, vr: str, charset: str) -> bytes:
    """Encode by Specific Character Set (PS3.3 C.12.1.1.2); raises Rejected where it has no such letters."""
    if text.isascii():
        return text.encode()
    refusal = Rejected("uncorrectable", f"its character set is {charset or 'the default one'}")
    if not charset:
        raise refusal
    try:
        encodings = convert_encodings(charset.split("\\"))
        if len(encodings) == 1:
            return text.encode(encodings[0])
        value = PersonName(text).encode(encodings) if vr == "PN" else encode_string(text, encodings)
        delimiters = {*TEXT_VR_DELIMS, *(PN_DELIMS if vr == "PN" else ())}
        if decode_bytes(value, encodings, delimiters) != text:
            raise refusal
    except (LookupError, ValueError):
        raise refusal from None
    return value
