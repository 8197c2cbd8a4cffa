"""The DICOM receiver: what a modality stores over the network (C-STORE, PS3.4 B) goes into its clinic's inbox."""
