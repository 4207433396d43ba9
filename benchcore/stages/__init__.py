"""What a pipeline does to a server: each stage uses the same client."""
