"""What ``astra check`` looks for: what would be refused, and what is probably a mistake."""
