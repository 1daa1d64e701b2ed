"""The engine and what stands around it: the only loop, the only writer, the resume."""
