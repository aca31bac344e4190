"""Operating-system processes and their supervision; fair file locks between processes."""
