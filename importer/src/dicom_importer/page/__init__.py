"""What the page at /inbox/ asks the importer: what came from a clinic, and uploads into its inbox."""
