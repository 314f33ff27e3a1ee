"""Cedar, wrapped: which policies can matter to a request, what the engine is told, and what its answer is worth.

`cedar` is the way in. `slicing`, `necessity`, `prefilter` and `selecting` choose policies; `entities`, `schematext`, `judging`,
`projection` and `views` prepare what is sent; `asking` sends it; `selftest` proves on the running build that errors refuse.
"""
