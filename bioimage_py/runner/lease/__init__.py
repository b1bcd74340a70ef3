"""Who may write where: ownership of runs, their folders and stamps, and what dead ones have left."""
