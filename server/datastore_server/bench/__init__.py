"""Measures a server under load, for `datastore bench`.

Decisions are pure: `plan` is what is asked, `schedule` when each call is due, `popularity` which key it is for,
`requests` what is sent and what the answer says, `latencies` and `samples` what is measured, `report`, `judgement`,
`comparison` and `charts` what is said of it. `worker` is a process that makes calls, `fleet` starts the workers and
collects what they measure, and `entries` writes the entries that they use and deletes them.
"""
