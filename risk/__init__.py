"""What measures the book, and what may stop it."""

PART_OF = "astra-quant"
