"""The climb: measures a server level by level."""
