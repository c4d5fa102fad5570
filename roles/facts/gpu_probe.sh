# Tells everything about a host's GPUs and driver in one go: lines of KEY<tab>VALUE. Reads only; needs no driver.
# /var/lib/sdfleet-lab exists on test hosts alone and stands in for hardware they do not have.
LAB=/var/lib/sdfleet-lab
SYS=/sys PROC=/proc
[ ! -d $LAB/sys ] || SYS=$LAB/sys PROC=$LAB/proc
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin:/usr/lib/wsl/lib
say() { printf '%s\t%s\n' "$1" "$2"; }
first_version() { grep -oE '[0-9]{3}\.[0-9]+(\.[0-9]+)?' | head -n 1; }

kernel=$(cat $LAB/kernel 2>/dev/null || uname -r)
say kernel "$kernel"
say arch "$(uname -m)"
(. /etc/os-release; say distribution "$ID"; say release "$VERSION_ID")
[ ! -e "/lib/modules/$kernel/build/Makefile" ] || say headers true

container=$(cat $LAB/container 2>/dev/null)
if [ -z "$container" ]; then
  # Kubernetes leaves no mark but its mounts, and systemd-detect-virt knows only those who leave one.
  ! grep -qs '/kubelet/pods/.* /etc/hosts ' "$PROC/1/mountinfo" || container=kubernetes
  [ -n "$container" ] || container=$(systemd-detect-virt --container 2>/dev/null | grep -v '^none$')
  [ -n "$container" ] || [ ! -e /.dockerenv ] || container=docker
  [ -n "$container" ] || [ ! -e /run/.containerenv ] || container=podman
  [ -n "$container" ] || container=$(tr '\0' '\n' </proc/1/environ 2>/dev/null | sed -n 's/^container=//p')
fi
[ "$container" = none ] || say container "$container"

for file in "$SYS"/firmware/efi/efivars/SecureBoot-*; do
  [ ! -e "$file" ] || [ "$(od -An -t u1 -j 4 -N 1 "$file" | tr -d ' ')" != 1 ] || say secure_boot true
done
for key in /var/lib/dkms/mok.pub /var/lib/shim-signed/mok/MOK.der; do
  [ ! -e "$key" ] || ! mokutil --test-key "$key" 2>/dev/null | grep -q 'already enrolled' || say mok_enrolled true
done

for device in "$SYS"/bus/pci/devices/*; do
  kind=$(cat "$device/class" 2>/dev/null)
  case $kind in
    0x03*|0x0680*) say device "${device##*/} $(cat "$device/vendor") $(cat "$device/device") ${kind%??}" ;;
  esac
done
[ ! -d "$SYS/module/nouveau" ] || say nouveau true

loaded=$(cat "$PROC/driver/nvidia/version" 2>/dev/null | head -n 1)
module=$(cat "$SYS/module/nvidia/version" 2>/dev/null || echo "$loaded" | first_version)
[ -z "$module" ] || say module "$module"
case $loaded in
  *Open*) say module_kind open ;;
  ?*) say module_kind proprietary ;;
esac
on_disk=$(modinfo -k "$kernel" -F version nvidia 2>/dev/null | first_version)
for built in /var/lib/dkms/nvidia*/*/"$kernel"; do
  [ -n "$on_disk" ] || [ ! -d "$built" ] || on_disk=$(dirname "$built" | first_version)
done
[ -z "$on_disk" ] || say module_on_disk "$on_disk"

library=$(ldconfig -p 2>/dev/null | sed -n 's/.*libcuda\.so\.1 .*x86-64.* => //p;s/.*libcuda\.so\.1 .*AArch64.* => //p' | head -n 1)
userspace=$(readlink -f "${library:-/nowhere}" | first_version)
for file in /usr/lib/*/libcuda.so.*.* /usr/lib/*/nvidia/current/libcuda.so.*.* /usr/lib64/libcuda.so.*.*; do
  [ -n "$userspace" ] || [ ! -e "$file" ] || userspace=$(basename "$file" | first_version)
done

if command -v nvidia-smi >/dev/null; then
  ask() { timeout 30 nvidia-smi --query-gpu="$1" --format=csv,noheader 2>&1; }
  answer=$(ask driver_version,compute_cap,name)
  exit=$?
  case $answer in
    *'not a valid field'*) answer=$(ask driver_version,name | sed 's/, /, [N\/A], /'); exit=$? ;;
  esac
  say smi_exit $exit
  if [ $exit = 0 ]; then
    : "${userspace:=$(echo "$answer" | first_version)}"
    echo "$answer" | while IFS=, read -r _ compute name; do say smi_gpu "${compute# }/${name# }"; done
  else
    say smi_error "$(echo "$answer" | head -n 1 | cut -c 1-200)"
  fi
fi
[ -z "$userspace" ] || say userspace "$userspace"

# shellcheck disable=SC2016 # dpkg fills these in
packages=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version} ${Maintainer}\n' 2>/dev/null)
driver=$(echo "$packages" | grep -E '^.[^cn]. +(nvidia-(driver|kernel|dkms|utils|smi|persistenced|compute|fabricmanager|headless|open)|libnvidia-([^c]|c[^o]|co[^n])|libcuda1|cuda-drivers|nvlsm)')
echo "$driver" | while read -r state name version maintainer; do
  [ -z "$name" ] || say package "$name $version"
  case $state in h*) say held "$name" ;; esac
done
echo "$packages" | sed -nE 's/^.i. +(linux-image-[^ ]*) .*/\1/p' | grep -vE '^linux-image-(unsigned-)?[0-9]|-dbg$' \
  | while read -r name; do say kernel_image "$name"; done
if echo "$packages" | grep -qE '^.[UFHWt]' || [ -n "$(ls /var/lib/dpkg/updates 2>/dev/null)" ]; then say dpkg_interrupted true; fi

if [ -n "$container" ] && [ "$container" != none ]; then
  [ -z "$userspace" ] || say source host
elif echo "$driver" | grep -qiE '@nvidia\.com|cudatools'; then say source nvidia
elif echo "$driver" | grep -qE ' (nvidia-(kernel|dkms|utils|smi|driver)|libnvidia-compute|libcuda1)'; then say source distribution
elif [ -e /usr/bin/nvidia-uninstall ] || [ -e /var/log/nvidia-installer.log ]; then say source runfile
elif [ -n "$userspace$module" ]; then say source unknown
fi

systemctl -q is-active nvidia-fabricmanager 2>/dev/null && say fabric_manager true
systemctl -q is-active nvidia-persistenced 2>/dev/null && say persistence true
say free_kb "$(df -Pk / | awk 'NR == 2 {print $4}')"
say ram_kb "$(awk '/^MemTotal/ {print $2}' /proc/meminfo)"
say boot_id "$(cat /proc/sys/kernel/random/boot_id)"
