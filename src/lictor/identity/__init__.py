"""Adapters that prove who somebody is: issuers and their keys, SPIFFE bundles, proof of possession."""
