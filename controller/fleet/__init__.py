"""What the boxes report, kept in memory."""
