"""The audit of access: who looked at what, who logged in and who was refused, a JSON record each."""
