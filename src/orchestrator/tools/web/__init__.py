"""Requests over HTTP: what is sent, where it may go, what is taken back."""
