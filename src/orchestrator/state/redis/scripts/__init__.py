"""The scripts that change the store: one file each, what all of them begin with in ``common.lua``."""
