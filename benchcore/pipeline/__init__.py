"""What puts stages, servers and sinks together."""
