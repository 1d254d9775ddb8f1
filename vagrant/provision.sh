#!/bin/sh
# Makes a Debian 12 system into a lab guest. The same file serves the direct QEMU image and the Vagrantfile.
#
#   provision.sh packages    print the packages, comma-separated
#   provision.sh install     install them with apt-get
#   provision.sh configure   units, masks, kernel command line, the lab's agent
#   provision.sh             install and configure
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

packages() {
    # A system that boots, and user sessions for the rootless commands.
    echo systemd-sysv udev dbus dbus-user-session libpam-systemd kmod procps iproute2 util-linux e2fsprogs
    # cgoom's own needs, and its tests'.
    echo python3 python3-click python3-yaml python3-psutil python3-pyroute2 python3-jeepney python3-installer
    echo python3-pytest python3-hypothesis
    # The kernel module: both kernels, and what builds for them.
    echo linux-image-amd64 linux-headers-amd64 linux-image-6.12-amd64 linux-headers-6.12-amd64 gcc libc6-dev make sparse
    # Peers to compare with, and load.
    echo earlyoom nohang systemd-oomd oomd stress-ng
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    # shellcheck disable=SC2046 # one word per package is meant
    apt-get install -y --no-install-recommends $(packages)
}

# Other OOM killers, which would decide the tests; whoever measures one unmasks and starts it. And a getty, which would
# fight for the serial console.
killers="earlyoom.service nohang.service nohang-desktop.service oomd.service systemd-oomd.service systemd-oomd.socket"
gettys="serial-getty@ttyS0.service getty@tty1.service"
# What costs boot time or wakes up in the middle of a measurement, and serves nothing that lives for minutes.
chores="apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer man-db.timer logrotate.timer systemd-tmpfiles-clean.timer systemd-pstore.service
    systemd-machine-id-commit.service systemd-firstboot.service systemd-binfmt.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-timesyncd.service
    systemd-journal-flush.service systemd-rfkill.socket proc-sys-fs-binfmt_misc.automount"

mask_units() {
    for unit in $killers $gettys $chores; do
        # By hand and not with systemctl: an image under construction has no manager to talk to.
        ln -sfn /dev/null "/etc/systemd/system/$unit"
    done
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        # shellcheck disable=SC2086 # one word per unit is meant
        systemctl stop $killers || true
    fi
}

install_agent() {
    install -d /usr/local/lib/cgoom-lab/labkit /etc/systemd/system/multi-user.target.wants
    install -m 0644 "$here/labkit/__init__.py" "$here/labkit/agent.py" "$here/labkit/port.py" "$here/labkit/wire.py" \
        /usr/local/lib/cgoom-lab/labkit/
    install -m 0644 "$here/labkit/lab-agent.service" "$here/labkit/lab.slice" /etc/systemd/system/
    ln -sfn ../lab-agent.service /etc/systemd/system/multi-user.target.wants/lab-agent.service
}

configure() {
    mask_units
    install_agent
    # A user for the rootless commands and for tests of who may do what.
    id lab >/dev/null 2>&1 || useradd --create-home --shell /bin/bash lab
    # The journal in memory: no disk writes in the middle of a measurement. Size chosen: minutes of a guest's life.
    install -d /etc/systemd/journald.conf.d
    printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n' >/etc/systemd/journald.conf.d/lab.conf
    if command -v update-grub >/dev/null; then
        install -d /etc/default/grub.d
        # $GRUB_CMDLINE_LINUX is for update-grub to expand.
        # shellcheck disable=SC2016
        echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX psi=1"' >/etc/default/grub.d/cgoom-lab.cfg
        update-grub
    fi
}

case "${1:-}" in
packages) packages | tr '\n ' ',,' | sed 's/,$//' ;;
install) install_packages ;;
configure) configure ;;
'')
    install_packages
    configure
    ;;
*)
    echo "provision.sh: unknown step: $1" >&2
    exit 2
    ;;
esac
