"""Workers as jobs of a SLURM cluster."""
