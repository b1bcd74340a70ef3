"""The HTTP interface: what is asked, by whom, within which limits, and how errors are told."""
