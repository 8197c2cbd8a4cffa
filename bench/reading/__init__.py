"""`make bench-reading`: studies read in a browser, through TLS and access control, beside the same viewer on less."""
