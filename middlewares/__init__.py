"""The bundled middlewares: one a file, the file's name is its name in config.yaml."""
