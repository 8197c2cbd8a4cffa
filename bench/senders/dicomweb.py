"""Sends every file below a folder with dicomweb-client, so many in a request."""

import sys
from pathlib import Path

import pydicom
from dicomweb_client import DICOMwebClient

url, folder, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
client = DICOMwebClient(url)
paths = sorted(path for path in folder.rglob("*") if path.is_file())
for first in range(0, len(paths), batch):
    client.store_instances([pydicom.dcmread(path) for path in paths[first : first + batch]])
