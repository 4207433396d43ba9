"""Results for people: terminal, Markdown, pages."""
