"""Workers in processes that belong to somebody else: those of an executor, or of a cluster that was there before."""
