"""The AT engine: one command at a time, unsolicited lines at any moment."""
