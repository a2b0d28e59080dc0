"""The demonstration: the shop of `examples/shop` at work, and what that proves.

`local` tells the story on this machine (`make demo`), `kubernetes` on a real node (`make
demo-kubernetes`). Both read the warehouse's own log of its calls, from outside of Towpath, and let
`proofs` judge it.
"""
