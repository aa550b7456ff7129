"""What pages and the API share, by area; the work itself is the controller's or the database's."""
