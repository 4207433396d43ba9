"""Where results go; each sink is found by its entry point."""
