"""What every room stands on: clock, errors, seeds, secrets, text, files."""
