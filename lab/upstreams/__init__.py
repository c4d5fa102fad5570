"""Stand-ins for the servers that a fleet downloads from, in one process, with faults that tests switch on and off.

`python -m lab.upstreams --root DIR --bind ADDRESS --build` makes the content and serves it; in a test,
`Upstreams(DIR)` does. Faults are switched by `Upstreams.set_faults`, from another process by `control.Control`,
by hand with, for example,

    curl -X PUT http://10.77.0.1:8099/faults -d '[{"kind": "slow", "server": "cdn", "rate": 1000000}]'
    curl -X PUT http://10.77.0.1:8099/faults -d '[]'

Every request is a line of DIR/requests.jsonl.
"""
