#!/bin/sh
# The provider's own command that stops the container, and with it the bill: @USAGE@
case "$*" in
  "@WORDS@"*) kill -TERM 1 ;;
  *) echo "usage: @USAGE@" >&2; exit 2 ;;
esac
