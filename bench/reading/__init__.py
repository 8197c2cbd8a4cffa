"""`make bench-reading`: reading studies in a browser, through TLS and access control, beside the same viewer on less."""
