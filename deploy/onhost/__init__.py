"""Programs that run on hosts, in any Python from 3.9, with the standard library only; `ssh.Remote.call` sends them."""
