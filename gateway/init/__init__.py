"""Makes the first settings of a gateway: the command "init".

`questions` asks for the account, `files` writes what must not exist yet, `command` runs both and
makes the first keys.
"""
