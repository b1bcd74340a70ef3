"""Workers as jobs of a scheduler that a small table describes: LSF, PBS, Grid Engine, or one of your own."""
