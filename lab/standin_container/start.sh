#!/bin/bash
# The start script of a lab container and its process 1: starts sshd, runs the provider's hooks, and waits.
# It has a hook that runs before sshd is up, and one that runs after it; empty if there is none.
@OPTIONS@
trap 'exit 0' TERM INT
run() { [ ! -f "$1" ] || bash "$1"; }
mkdir -p /run/sshd
run "@BEFORE@"
ssh-keygen -q -A
/usr/sbin/sshd
run "@AFTER@"
# While bash waits, it reaps the processes whose parents have ended.
sleep infinity &
wait $!
