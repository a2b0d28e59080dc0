"""The command line: thin commands over `insights` and the App; one of the four places of wiring."""
