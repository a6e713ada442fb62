"""Several processes that serve one store at one address: a writer, and readers beside it.

The writer is the process that was started. It opens the store, and serves it at a socket that only its readers use.
They open the same files for reading only, listen together at the address of the server, answer reads from what the
writer has committed, and pass everything else on to the writer.

`fleet` starts the readers and watches them, `reader` is what they run, `messages` what both say to each other.
`node` follows the records of the store, `passing` passes calls on, `service` is the service of a reader, and
`reports` adds up what the readers measure.
"""
