"""The operator's commands of the Podman form: build, start, stop, look, clinics, people, demo."""
