#!/bin/sh
# Stand-in of sdfleet's lab for modprobe: "loads" the module that dkms built for the lab's kernel.
LAB=/var/lib/sdfleet-lab
[ "$1" = nvidia ] && [ ! -d $LAB/sys/module/nouveau ] && [ ! -d $LAB/sys/module/nvidia ] || exit 1
read -r version kind <"/lib/modules/$(cat $LAB/kernel)/updates/dkms/nvidia.ko" || exit 1
mkdir -p $LAB/sys/module/nvidia $LAB/proc/driver/nvidia
echo "$version" >$LAB/sys/module/nvidia/version
echo "$kind" >$LAB/sys/module/nvidia/kind
case $kind in
  open) name="Open Kernel Module for x86_64" ;;
  *) name="x86_64 Kernel Module" ;;
esac
echo "NVRM version: NVIDIA UNIX $name  $version  Release Build" >$LAB/proc/driver/nvidia/version
