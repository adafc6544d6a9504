"""A folder of cases: which share of it, one after the other, with an account and pictures of the results."""
