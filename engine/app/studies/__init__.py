"""Questions asked once: what is held, what it risks, which pairs, which weights."""
