//! Where the host has its BPF file system, or has none, the table outlives a daemon that `ip netns exec` started: its mount
//! namespace, with a /sys of its own, does not.
//!
//! Each scenario plays the host in a mount and a process namespace of its own, which take everything along when they end.

use std::time::Duration;

use rlvs_tests::{Cluster, Hook, need};

/// A /run of its own, in which only the names of network namespaces are those of everybody, and no BPF file system. `begin`
/// starts a daemon, `crash` and `stop` end it, `show` shows its table, `left` what of it is there.
const HOST: &str = r#"
    mount --rbind /run /mnt
    mount -t tmpfs none /run
    ln -s /mnt/netns /run/netns
    umount /sys/fs/bpf 2>/dev/null || true
    in_director() { ip netns exec "$NETNS" "$@"; }
    begin() {
        # Not by in_director: the shell would run that, and be the process that is ended.
        ip netns exec "$NETNS" rlvsd --hook tc --max-connections 100 2>>"/mnt${LOG#/run}" &
        daemon=$!
        until in_director ipvsadm -L -n >/dev/null 2>&1; do kill -0 $daemon; sleep 0.05; done
    }
    crash() { kill -9 $daemon; wait $daemon || true; }
    stop() { kill $daemon; wait $daemon; }
    show() { in_director ipvsadm -S -n; }
    left() { find /sys/fs/bpf /run ! -name '*.debug' -path '*rlvs*'; }
"#;

#[test]
fn the_host_has_one() {
    assert_table_survives(
        "mount -t bpf none /sys/fs/bpf
         begin; in_director ipvsadm -A -t 172.16.0.1:80 -s rr; crash
         begin; show; stop
         test -d /sys/fs/bpf/rlvs; test ! -e /run/rlvs/bpf
         in_director rlvs unload; left",
    );
}

#[test]
fn the_host_has_none() {
    assert_table_survives(
        "begin; in_director ipvsadm -A -t 172.16.0.1:80 -s rr; crash
         begin; show; stop
         mountpoint -q /run/rlvs/bpf
         in_director rlvs unload; left",
    );
}

/// The daemon has mounted one of its own; then somebody mounts the host's, as some programs do when they need it.
#[test]
fn the_host_gets_one_later() {
    assert_table_survives(
        "begin; in_director ipvsadm -A -t 172.16.0.1:80 -s rr; crash
         mount -t bpf none /sys/fs/bpf
         begin; show; stop
         in_director rlvs unload; left",
    );
}

/// Runs a script on a host of its own, and asserts that it showed the table, and nothing that was left.
fn assert_table_survives(script: &str) {
    if !need::programs(&[("unshare", "util-linux"), ("mount", "mount")]) {
        return;
    }
    let Some(cluster) = Cluster::build(Hook::Tc) else { return };
    let mut command = cluster.command("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-ec", &format!("{HOST}{script}")]);
    command.env("NETNS", cluster.host("director").name()).env("LOG", &cluster.options.log);
    let ran = cluster.try_command("client", &mut command, Duration::from_secs(20));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "-A -t 172.16.0.1:80 -s rr\n"), "{}", ran.stderr);
}
