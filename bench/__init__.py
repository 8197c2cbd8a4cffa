"""`make bench`: the importer beside other senders, against one archive."""
