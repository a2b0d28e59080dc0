"""Pure planning: what to do, given what is declared, what was observed and what time it is."""
