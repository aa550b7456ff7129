"""How to talk to hardware: the AT engine and one folder per module family."""
