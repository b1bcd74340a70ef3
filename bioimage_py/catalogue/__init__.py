"""The operations as data: which there are, and what their parameters take; commands and forms are made of it."""
