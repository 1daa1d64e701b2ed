"""Tables behind the tool `data-processing`: where they come from, what is done to them, where they go."""
