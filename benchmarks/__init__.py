"""What has a budget, measured; `make bench` runs all of it."""
