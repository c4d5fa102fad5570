"""Programs that `ssh.Remote.call` sends to hosts. They run in any Python from 3.9, with the standard library only."""
