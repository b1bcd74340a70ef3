"""What is looked at before a library decodes it, where that fails badly over damage."""
