"""Results of other load generators, read in as runs, and ours under the keys of one of them."""
