"""The application that the user's example of a declared queue names."""
