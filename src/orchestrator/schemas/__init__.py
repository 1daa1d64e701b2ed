"""JSON Schema (2020-12): whether a schema is one, and whether a value fits it."""
