"""A server under test on a Kubernetes cluster."""
