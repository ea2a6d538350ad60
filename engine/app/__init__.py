"""The outermost layer: configuration, wiring, commands. It knows everyone; nobody knows it."""
