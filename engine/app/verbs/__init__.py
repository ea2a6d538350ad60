"""The verbs of the ``astra`` command, one file per group; nothing heavy is imported at module level."""
