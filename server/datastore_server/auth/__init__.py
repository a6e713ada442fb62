"""Who calls, and what they may do: tokens, rights below prefixes of keys, quotas.

`rights` decides; `secrets` makes and verifies tokens; `access` reads the file that names callers, and `editing` changes
it; `gate` lets calls in, and says to `authorized`, below every RPC, on whose behalf they are.
"""
