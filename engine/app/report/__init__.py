"""The page of a run: figures, tables and charts of a run folder, in one file that loads nothing."""
