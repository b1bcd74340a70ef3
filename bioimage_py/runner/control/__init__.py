"""Runs seen from outside: look, attach, cancel, forget, replay."""
