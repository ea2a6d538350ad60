"""The machine: records in, events out; no solver, no vendor, no network below sinks/ and app/."""

PART_OF = "astra-quant"
