"""The backup: what one stack holds into an encrypted repository of restic, and whether it is whole there."""
