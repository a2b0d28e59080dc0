"""The test kit: an App on a throw-away database, a clock that is moved, and crashes where a test wants them."""
