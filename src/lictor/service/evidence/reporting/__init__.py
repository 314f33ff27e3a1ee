"""What a deployment's log shows: counted in one pass, joined with our map of published controls.

Refuses to know HTML and files, and to say that anybody conforms to anything.
"""
