"""Ways in which the simulator can be wrong: for each functional check, one that it must catch."""
