"""Who may do what in the archive: tokens, routes, rules and queries, without a server."""
