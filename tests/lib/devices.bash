# SPDX-License-Identifier: Apache-2.0
#
# Block devices of every kind, for tests that lose their content. Sourced.
#
#	device_make KIND	sets DEVICE, and EXTRA and PASSTHROUGH for devjudge;
#				1: it cannot be made; 2: the kernel has none,
#				and ABSENT says why
#	device_end		takes it away again, whatever was made of it
#	device_expect KIND [RELEASE]
#				"tracked", or the slug of the refusal, by this
#				kernel or that one
#
# Files are in $DEVICES_DIR. Kinds with "(guest)" below want a machine of their
# own: they load modules with parameters, and take what names they like.
#
# shellcheck shell=bash

DEVICE_MIB=${DEVICE_MIB:-64}
DEVICE_UNDO=()

# All kinds, in the order of the table.
DEVICE_REQUESTS="loop virtio-blk scsi_debug scsi_debug-ws16 scsi_debug-ws10
	scsi_debug-4k null_blk-softirq null_blk-timer nbd nvme nvme-fabrics
	dm-multipath"
DEVICE_BIOS="lvm-linear dm-linear dm-striped dm-thin dm-crypt dm-snapshot
	dm-snapshot-origin md-raid0 md-raid1 md-raid5 md-linear zram brd"
DEVICE_REFUSED="null_blk-bio null_blk-zoned pmem-dax nvme-multipath"
# shellcheck disable=SC2034 # for who sources this
DEVICE_KINDS="$DEVICE_REQUESTS $DEVICE_BIOS $DEVICE_REFUSED"

device_expect()
{
	case $1 in
	null_blk-zoned) echo zoned ;;
	pmem-dax) echo dax ;;
	nvme-multipath) echo multipath-head ;;
	# Whether it ends its bios itself is not known of it.
	null_blk-bio) echo bio-based ;;
	# 6.1 hands bios on as they are, and their end is of another device.
	md-linear) echo self-test-failed ;;
	# Before 6.3 pages are written to these without a bio.
	zram | brd)
		case ${2:-$(uname -r)} in
		5.* | 6.[012].*) echo bio-based ;;
		*) echo tracked ;;
		esac
		;;
	*) echo tracked ;;
	esac
}

# undo COMMAND...: what device_end does, the latest first
undo()
{
	DEVICE_UNDO+=("$(printf '%q ' "$@")")
}

device_end()
{
	local i rc=0

	for ((i = ${#DEVICE_UNDO[@]} - 1; i >= 0; i--)); do
		# What has only just been closed may be busy for a moment.
		device_retry eval "${DEVICE_UNDO[i]}" || rc=1
	done
	DEVICE_UNDO=()
	return $rc
}

device_retry()
{
	local tries said=$DEVICES_DIR/said

	# In this shell: some of it waits for children.
	for tries in {1..50}; do
		"$@" >"$said" 2>&1 && return
		sleep 0.1
	done
	echo "device: $* ($tries times): $(cat "$said")" >&2
	return 1
}

# until_true COMMAND...: 10 seconds at most
until_true()
{
	for _ in {1..200}; do
		"$@" && return
		sleep 0.05
	done
	echo "device: not in time: $*" >&2
	return 1
}

absent()
{
	# shellcheck disable=SC2034 # for who sources this
	ABSENT=$*
	return 2
}

# module NAME [PARAMETER...]: loaded anew, with these parameters
module()
{
	local name=$1

	[ -d "/sys/module/${name//-/_}" ] && [ $# -eq 1 ] && return
	modprobe -n "$name" 2>/dev/null || {
		absent "the kernel has no $name"
		return
	}
	modprobe "$@" || return 1
}

configfs()
{
	mountpoint -q /sys/kernel/config ||
		mount -t configfs configfs /sys/kernel/config
}

# ---- devices of requests ----

# under NAME [MIB]: a loop device over a sparse file; its path is UNDER
under()
{
	local file=$DEVICES_DIR/$1.img

	truncate -s "${2:-$DEVICE_MIB}M" "$file" || return
	UNDER=$(losetup -P -f --show "$file") || return
	undo rm -f "$file"
	undo losetup -d "$UNDER"
}

make_loop()
{
	under loop || return
	DEVICE=$UNDER
}

# The disk that is there for it: empty, by its size.
make_virtio-blk()
{
	DEVICE=/dev/vda
	[ "$(blockdev --getsize64 "$DEVICE")" -le $((256 << 20)) ]
}

scsi_disk()
{
	local dir

	for dir in /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/*; do
		[ -b "/dev/${dir##*/}" ] || continue
		DEVICE=/dev/${dir##*/}
		return
	done
	return 1
}

# scsi PARAMETER...
scsi()
{
	modprobe -q sd_mod
	module scsi_debug dev_size_mb="$DEVICE_MIB" ndelay=20000 \
		submit_queues=2 "$@" || return
	undo modprobe -r scsi_debug
	until_true scsi_disk
}

make_scsi_debug()
{
	scsi lbpu=1 lbpws=1 || return
	PASSTHROUGH=scsi
}

make_scsi_debug-ws16()
{
	scsi lbpws=1
}

make_scsi_debug-ws10()
{
	scsi lbpws10=1
}

make_scsi_debug-4k()
{
	scsi lbpu=1 sector_size=4096
}

# null NAME=VALUE...
null()
{
	local dir=/sys/kernel/config/nullb/test word

	module null_blk nr_devices=0 || return
	undo modprobe -r null_blk
	configfs || return
	mkdir "$dir" || return
	undo rmdir "$dir"
	for word in size="$DEVICE_MIB" memory_backed=1 blocksize=512 \
		completion_nsec=20000 "$@"; do
		echo "${word#*=}" >"$dir/${word%%=*}" || return
	done
	undo eval "echo 0 >$dir/power"
	echo 1 >"$dir/power" || return
	DEVICE=/dev/nullb0
	[ -b "$DEVICE" ] || DEVICE=/dev/test
	[ -b "$DEVICE" ]
}

make_null_blk-softirq()
{
	null queue_mode=2 irqmode=1 submit_queues=2 discard=1
}

make_null_blk-timer()
{
	null queue_mode=2 irqmode=2 submit_queues=2 discard=1
}

make_null_blk-bio()
{
	null queue_mode=0 discard=1 || return
	[ ! -d "/sys/block/${DEVICE##*/}/mq" ] ||
		absent "null_blk takes requests only"
}

make_null_blk-zoned()
{
	null queue_mode=2 zoned=1 zone_size=4
}

nbd_has_size()
{
	[ "$(blockdev --getsize64 /dev/nbd0 2>/dev/null)" -gt 0 ]
}

make_nbd()
{
	module nbd nbds_max=1 max_part=4 || return
	undo modprobe -r nbd
	# Where qemu-nbd has its socket.
	mkdir -p /var/lock
	truncate -s "${DEVICE_MIB}M" "$DEVICES_DIR/nbd.img"
	undo rm -f "$DEVICES_DIR/nbd.img"
	qemu-nbd -c /dev/nbd0 -f raw --discard=unmap --detect-zeroes=off \
		"$DEVICES_DIR/nbd.img" >/dev/null 2>&1 &
	undo wait $!
	undo qemu-nbd -d /dev/nbd0
	DEVICE=/dev/nbd0
	until_true nbd_has_size
}

# Disks of NVMe by their name of a namespace, without paths of a head.
nvme_disk()
{
	local dir

	for dir in /sys/block/nvme*n*; do
		[[ ${dir##*/} =~ ^nvme[0-9]+n[0-9]+$ ]] || continue
		[ "$(cat "$dir/device/transport" 2>/dev/null ||
			cat "$dir"/device/nvme*/transport)" = "$1" ] || continue
		[ -b "/dev/${dir##*/}" ] || continue
		DEVICE=/dev/${dir##*/}
		return
	done
	return 1
}

# Discards of several ranges in one request: XFS frees extents here and there
# under a plug.
merged_discards()
{
	cat <<'END'
set -e
d=$(mktemp -d)
mkfs.xfs -q -f -K --unsupported "$DEVICE" 2>/dev/null ||
	mkfs.xfs -q -f -K "$DEVICE"
mount -o discard "$DEVICE" "$d"
i=0
while [ $i -lt 60 ]; do
	dd if=/dev/urandom of="$d/$i" bs=64k count=2 status=none
	i=$((i + 1))
done
sync -f "$d"
rm "$d"/*[02468]
sync -f "$d"
umount "$d"
rmdir "$d"
END
}

make_nvme()
{
	module nvme || return
	until_true nvme_disk pcie || return
	# shellcheck disable=SC2034 # for who sources this
	EXTRA=$(merged_discards) PASSTHROUGH=nvme
}

# A target in this kernel and a host that is connected to it, by the loop
# transport, or by TCP where the kernel has no other.
nvme_over_fabrics()
{
	local top=/sys/kernel/config/nvmet transport=loop how

	modprobe -n nvme-loop 2>/dev/null || transport=tcp
	module nvmet || return
	module "nvmet${transport/#loop/}" 2>/dev/null || true
	if [ $transport = loop ]; then
		module nvme-loop || return
		undo modprobe -r nvme_loop
	else
		module nvmet-tcp && module nvme-tcp || return
		undo modprobe -r nvme_tcp
		undo modprobe -r nvmet_tcp
	fi
	configfs || return
	under nvme || return
	mkdir $top/subsystems/test || return
	undo rmdir $top/subsystems/test
	echo 1 >$top/subsystems/test/attr_allow_any_host
	mkdir $top/subsystems/test/namespaces/1 || return
	undo rmdir $top/subsystems/test/namespaces/1
	printf %s "$UNDER" >$top/subsystems/test/namespaces/1/device_path
	undo eval "echo 0 >$top/subsystems/test/namespaces/1/enable"
	echo 1 >$top/subsystems/test/namespaces/1/enable || return
	mkdir $top/ports/1 || return
	undo rmdir $top/ports/1
	echo $transport >$top/ports/1/addr_trtype
	how="transport=$transport,nqn=test"
	if [ $transport = tcp ]; then
		echo ipv4 >$top/ports/1/addr_adrfam
		echo 127.0.0.1 >$top/ports/1/addr_traddr
		echo 4420 >$top/ports/1/addr_trsvcid
		how+=",traddr=127.0.0.1,trsvcid=4420"
	fi
	ln -s $top/subsystems/test $top/ports/1/subsystems/test || return
	undo rm $top/ports/1/subsystems/test
	echo "$how" >/dev/nvme-fabrics || return
	undo nvme_disconnect $transport
	until_true nvme_disk $transport
}

nvme_disconnect()
{
	local dir

	for dir in /sys/class/nvme/nvme*; do
		[ "$(cat "$dir/transport" 2>/dev/null)" = "$1" ] || continue
		echo 1 >"$dir/delete_controller"
	done
}

# nvme_core anew: whether there are heads is a parameter of the module.
nvme_multipath()
{
	local m

	for m in nvme_loop nvme_tcp nvmet_tcp nvmet nvme_fabrics nvme nvme_core; do
		[ ! -d /sys/module/$m ] || device_retry modprobe -r $m ||
			return
	done
	module nvme_core multipath="$1"
}

make_nvme-fabrics()
{
	nvme_multipath N || return
	nvme_over_fabrics || return
	# shellcheck disable=SC2034 # for who sources this
	PASSTHROUGH=nvme
}

make_nvme-multipath()
{
	nvme_multipath Y || return
	nvme_over_fabrics
}

make_pmem-dax()
{
	module nd_e820 || return
	module nd_pmem || return
	[ -b /dev/pmem0 ] || {
		absent "no memory was set aside for it (memmap=)"
		return
	}
	DEVICE=/dev/pmem0
}

# ---- device mapper ----

# dm NAME TABLE: sets DEVICE
dm()
{
	dmsetup create --noudevsync --noudevrules "$1" --table "$2" || return
	undo dmsetup remove --noudevsync --noudevrules "$1"
	DEVICE=/dev/dm-$(dmsetup info -c --noheadings -o minor "$1" | tr -d ' ')
	[ -b "$DEVICE" ]
}

dm_sectors=$((DEVICE_MIB * 2048))

make_dm-linear()
{
	module dm-mod || return
	under a || return
	dm us-linear "0 $((dm_sectors - 2048)) linear $UNDER 1024"
}

make_dm-striped()
{
	local a b

	module dm-mod || return
	under a && a=$UNDER && under b && b=$UNDER || return
	dm us-striped "0 $((dm_sectors * 2)) striped 2 128 $a 0 $b 0"
}

make_dm-thin()
{
	local meta

	module dm-thin-pool || return
	under meta 4 && meta=$UNDER && under data $((DEVICE_MIB * 2)) || return
	dm us-pool "0 $((dm_sectors * 2)) thin-pool $meta $UNDER 128 0" || return
	dmsetup message us-pool 0 "create_thin 0" || return
	dm us-thin "0 $dm_sectors thin ${DEVICE} 0"
}

make_dm-crypt()
{
	local key

	module dm-crypt || return
	under a || return
	key=$(printf '%0128d' 1)
	dm us-crypt "0 $dm_sectors crypt aes-xts-plain64 $key 0 $UNDER 0 1 allow_discards"
}

# snapshot_pair: a device with an origin and one snapshot of it
snapshot_pair()
{
	local base

	module dm-snapshot || return
	under base && base=$UNDER && under cow $((DEVICE_MIB * 2)) || return
	dm us-base "0 $dm_sectors linear $base 0" || return
	base=$DEVICE
	dm us-origin "0 $dm_sectors snapshot-origin $base" || return
	ORIGIN=$DEVICE
	dm us-snapshot "0 $dm_sectors snapshot $base $UNDER P 16"
}

make_dm-snapshot()
{
	snapshot_pair
}

make_dm-snapshot-origin()
{
	snapshot_pair || return
	DEVICE=$ORIGIN
}

# By requests: its disk has queues of its own.
make_dm-multipath()
{
	module dm-multipath || return
	module dm-service-time || return
	scsi lbpu=1 || return
	dm us-mpath "0 $dm_sectors multipath 0 0 1 1 service-time 0 1 1 $DEVICE 1"
}

lvm_do()
{
	local command=$1
	shift

	lvm "$command" -qq -y --config 'activation { udev_sync = 0 udev_rules = 0
		verify_udev_operations = 1 monitoring = 0 }
		devices { use_devicesfile = 0 obtain_device_list_from_udev = 0
		scan_lvs = 0 filter = [ "a|/dev/loop.*|", "r|.*|" ] }
		global { event_activation = 0 }
		backup { backup = 0 archive = 0 }' "$@" 2>&1
}

make_lvm-linear()
{
	module dm-mod || return
	under a $((DEVICE_MIB + 8)) || return
	lvm_do pvcreate "$UNDER" && lvm_do vgcreate us-vg "$UNDER" || return
	undo lvm_do vgremove -f us-vg
	lvm_do lvcreate -Wn -Zn -an -L "${DEVICE_MIB}M" -n vol us-vg &&
		lvm_do lvchange -ay -K us-vg/vol || return
	DEVICE=/dev/dm-$(dmsetup info -c --noheadings -o minor us--vg-vol |
		tr -d ' ')
	[ -b "$DEVICE" ]
}

# ---- md ----

# md LEVEL DISKS
md()
{
	local disks=() i

	[ "$1" = linear ] || module "raid${1/5/456}" || return
	for ((i = 0; i < $2; i++)); do
		under "md$i" $((DEVICE_MIB / 2 + 2)) || return
		disks+=("$UNDER")
	done
	mdadm --create /dev/md77 --quiet --run --assume-clean --level="$1" \
		--metadata=1.2 --raid-devices="$2" "${disks[@]}" || return
	undo mdadm --stop --quiet /dev/md77
	DEVICE=/dev/md77
	until_true test -b "$DEVICE"
}

make_md-raid0()
{
	md 0 2
}

make_md-raid1()
{
	md 1 2
}

make_md-raid5()
{
	md 5 3
}

make_md-linear()
{
	module linear || return
	md linear 2
}

# ---- memory ----

make_zram()
{
	local n

	[ -d /sys/class/zram-control ] || module zram || return
	n=$(cat /sys/class/zram-control/hot_add) || return
	undo eval "echo $n >/sys/class/zram-control/hot_remove"
	DEVICE=/dev/zram$n
	echo "${DEVICE_MIB}M" >"/sys/block/zram$n/disksize" || return
	undo eval "echo 1 >/sys/block/zram$n/reset"
}

make_brd()
{
	module brd rd_nr=1 rd_size=$((DEVICE_MIB * 1024)) max_part=4 || return
	undo modprobe -r brd
	DEVICE=/dev/ram0
	until_true test -b "$DEVICE"
}

device_make()
{
	# shellcheck disable=SC2034 # for who sources this
	DEVICE='' EXTRA='' PASSTHROUGH='' ABSENT=''
	"make_$1"
}
