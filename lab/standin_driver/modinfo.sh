#!/bin/sh
# Stand-in of sdfleet's lab for modinfo: modinfo -k KERNEL -F version nvidia
cut -d' ' -f1 "/lib/modules/$2/updates/dkms/nvidia.ko" 2>/dev/null
