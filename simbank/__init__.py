"""Cards and readers (comes with the remote SIM capability)."""
