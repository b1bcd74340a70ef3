"""Which items are for training: how parts are drawn, kept and checked."""
