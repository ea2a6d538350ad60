"""The daemon: what runs around the core for weeks, and how it fails."""
