"""The importer: what a clinic drops into its inbox ends in the archive or in failed/."""
