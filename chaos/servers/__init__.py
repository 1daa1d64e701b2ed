"""Servers of our own, to be stopped, killed and cut off: started without root, on 127.0.0.1, gone with this process."""
