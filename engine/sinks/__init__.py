"""Where effects go: one file a destination."""
