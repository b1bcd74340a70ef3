"""Formats of microscopes and of the programs that go with them."""
