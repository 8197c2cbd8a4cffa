"""Programs that run in the peers' container."""
