"""Fleet: a load that several processes send together."""
