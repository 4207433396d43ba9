"""Results for people: terminal tables and progress lines."""
