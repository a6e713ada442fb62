"""The stores for threads, generated from `datastore.aio`. Their documented path is `datastore`."""
