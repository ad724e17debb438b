"""The command line. Answers go to stdout, everything else to stderr."""
