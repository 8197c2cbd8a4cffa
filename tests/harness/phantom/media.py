"""Documents and videos in objects."""

from __future__ import annotations

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41, EncapsulatedPDFStorage, VideoPhotographicImageStorage

from harness.phantom.building import Identity, Study, as_file, begin, put


def document(pdf: bytes, identity: Identity) -> Study:
    """Put a PDF into an object."""
    ds = begin(EncapsulatedPDFStorage, "DOC", identity, 0)
    put(ds, BurnedInAnnotation="YES", ConversionType="WSD", DocumentTitle="Report")
    put(ds, EncapsulatedDocument=pdf, EncapsulatedDocumentLength=len(pdf))
    put(ds, MIMETypeOfEncapsulatedDocument="application/pdf")
    return Study(identity, {"DOC.dcm": as_file(ds)}, np.empty(0))


def video(mp4: bytes, identity: Identity, *, rows: int, columns: int, frames: int) -> Study:
    """Put an H.264 video into an object."""
    ds = begin(VideoPhotographicImageStorage, "XC", identity, 0)
    put(ds, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, SamplesPerPixel=3)
    put(ds, Columns=columns, FrameIncrementPointer=0x00181063, FrameTime=40, Rows=rows)
    put(ds, ImageType=["ORIGINAL", "PRIMARY"], LossyImageCompression="01", NumberOfFrames=frames)
    put(ds, PhotometricInterpretation="YBR_PARTIAL_420", PlanarConfiguration=0)
    ds.PixelData = encapsulate([mp4 + bytes(len(mp4) % 2)])
    ds["PixelData"].VR = "OB"
    return Study(identity, {"XC.dcm": as_file(ds, MPEG4HP41)}, np.empty(0))
