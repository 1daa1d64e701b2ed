"""Pipelines written as functions: `@task`, `@pipeline`, and what stands for values that are not there yet."""
