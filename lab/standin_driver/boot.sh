#!/bin/sh
# Stand-in of sdfleet's lab for what a kernel does at boot: forget loaded modules, then load a driver for the cards.
LAB=/var/lib/sdfleet-lab
rm -rf $LAB/sys/module/nvidia $LAB/sys/module/nouveau $LAB/proc/driver/nvidia
if [ -e $LAB/has-nouveau ] && ! grep -qs '^blacklist nouveau' $LAB/initramfs/*; then
  mkdir -p $LAB/sys/module/nouveau
else
  /usr/local/sbin/modprobe nvidia || true
fi
