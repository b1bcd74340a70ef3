"""The page: sign in, look at projects and their data sets, see who did what; drawn here, without scripts of others."""
