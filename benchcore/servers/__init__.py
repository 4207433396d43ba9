"""Start a server under test, tell when it is ready, take it down."""
