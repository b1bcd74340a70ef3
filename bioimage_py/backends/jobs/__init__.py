"""Workers as jobs of a scheduler: what all schedulers have in common."""
