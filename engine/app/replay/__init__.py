"""Replays, the folders they leave, and what can be proved of them afterwards."""
