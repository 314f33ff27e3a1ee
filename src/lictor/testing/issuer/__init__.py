"""An OpenID issuer for one developer's machine. It asks for no password: whoever reaches it is whoever they say."""
