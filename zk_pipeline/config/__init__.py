"""Settings from the environment, the home folder, and the addresses and rules that settings contain."""
