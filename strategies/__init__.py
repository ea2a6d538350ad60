"""What turns slices into signals, and signals into targets."""

PART_OF = "astra-quant"
