#!/bin/bash
bash /etc/autodl.sh >>/tmp/autodl.sh.log 2>&1
