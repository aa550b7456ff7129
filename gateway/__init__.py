"""The box: its modules, channels, calls, voice and outbox."""
