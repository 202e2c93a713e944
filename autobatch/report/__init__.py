"""Results as text, JSON, Markdown, a page and pictures; saved runs read back."""
