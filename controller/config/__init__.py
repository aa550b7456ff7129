"""The routing configuration: its file, its checks, its rows in the database, its compiled form."""
