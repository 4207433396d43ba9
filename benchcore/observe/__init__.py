"""What can be seen beside the requests: this machine, and the server's own metrics."""
