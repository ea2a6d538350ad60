"""Where bars come from: one file a source."""

PART_OF = "astra-quant"
