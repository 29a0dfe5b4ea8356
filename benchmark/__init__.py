"""What bench.py measures: the contestants and the hardware."""
