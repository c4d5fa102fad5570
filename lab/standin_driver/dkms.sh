#!/bin/sh
# Stand-in of sdfleet's lab for dkms: "builds" a module for every kernel whose headers are there.
set -e
build() { # VERSION KERNEL
  [ -e "/lib/modules/$2/build/Makefile" ] || { echo "dkms (stand-in): no headers of kernel $2" >&2; return 0; }
  mkdir -p "/var/lib/dkms/nvidia/$1/$2" "/lib/modules/$2/updates/dkms"
  echo "$1 $(cat "/usr/src/nvidia-$1/kind")" >"/lib/modules/$2/updates/dkms/nvidia.ko"
}
version=${2##*/}
case $1 in
  install) for k in /lib/modules/*; do build "$version" "${k##*/}"; done ;;
  remove)
    rm -rf "/var/lib/dkms/nvidia/$version"
    grep -ls "^$version " /lib/modules/*/updates/dkms/nvidia.ko | xargs -r rm -f
    ;;
  autoinstall)
    for source in /usr/src/nvidia-*; do build "${source##*nvidia-}" "$3"; done
    [ -e "/lib/modules/$3/updates/dkms/nvidia.ko" ]
    ;;
esac
