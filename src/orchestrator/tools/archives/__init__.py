"""Archives: made with the same bytes each time, and opened without trusting them."""
