"""Signed tokens (RFC 7515, 7517, 7519) as a narrow reading: what is not certainly well formed and meant for us is refused.

The bytes are read by our own strict reader before any library sees them; the library (joserfc) only imports keys and checks
signatures. This package refuses to know where keys come from and who may do what.
"""
