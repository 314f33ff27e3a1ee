"""The wire of the token service (RFC 6749, 7009, 8693, 8707, 9396): bytes in, values out. Refuses to know keys and policy."""
