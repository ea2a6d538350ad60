"""The configuration: read, checked, explained, and written down again as it was taken."""
