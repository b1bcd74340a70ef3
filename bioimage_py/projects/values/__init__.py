"""What a project is made of, as values."""
