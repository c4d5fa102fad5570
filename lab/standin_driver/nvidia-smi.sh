#!/bin/sh
# Stand-in of sdfleet's lab for nvidia-smi @VERSION@: reports the cards that the lab host is said to have.
LAB=/var/lib/sdfleet-lab
loaded=$(cat $LAB/sys/module/nvidia/version 2>/dev/null) || {
  echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
  exit 9
}
[ "$loaded" = "@VERSION@" ] || {
  echo "Failed to initialize NVML: Driver/library version mismatch"
  exit 18
}
kind=$(cat $LAB/sys/module/nvidia/kind)
seen=0
while IFS='|' read -r name compute first kinds; do
  case " $kinds " in *" $kind "*) ;; *) continue ;; esac
  [ "${loaded%%.*}" -ge "$first" ] || continue
  seen=1
  case $1 in
    *driver_version,compute_cap,name*) echo "$loaded, $compute, $name" ;;
    *) echo "GPU: $name" ;;
  esac
done <$LAB/cards
[ $seen = 1 ] || { echo "No devices were found"; exit 6; }
