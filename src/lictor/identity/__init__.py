"""Who is asking, proved: tokens of configured issuers, SPIFFE documents, client certificates, possession of keys.

`front.Front` is what doors use. This package refuses to know agents and what they may do (`lictor.pdp.proof` finds whose identity
it is), and every failure in it means that nobody was proved to be anybody.
"""
