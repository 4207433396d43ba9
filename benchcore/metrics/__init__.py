"""Records in, figures out: percentiles, histograms, summaries, timeline, validity. No I/O."""
