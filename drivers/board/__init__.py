"""Power and reset of the places where modules sit: USB hubs, the kernel's port switches, a site's own program."""
