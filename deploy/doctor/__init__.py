"""`sdfleet doctor`: checks of the controller and the hosts; each is good, a warning or bad, with one cure."""
