"""Where the values of secrets come from: the environment, a file or a folder, the system's keyring."""
