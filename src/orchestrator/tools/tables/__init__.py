"""Tables behind the tools: where they come from, what is done to them, where they go."""
