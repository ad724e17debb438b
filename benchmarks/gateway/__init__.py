"""Gateways side by side: the same scripted upstream, the same load, CPU of each gateway's tree."""
