"""Commands that are made of the operations of the package."""
