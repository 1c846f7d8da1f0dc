//! Where the programs are attached: which hook, in which way, on which interfaces.

use rlvs_tests::{
    Cluster, Hook, WEB, eventually,
    loaded::{self, Loaded, filters, pinned_links},
    need, on_both_hooks, patience,
};

on_both_hooks!(only_the_interfaces_asked_for);

/// As kernels before 6.6 need it: a filter of the clsact queueing discipline. It is taken over by the next daemon, not
/// doubled, and unloading takes it away.
#[test]
fn tc_by_clsact() {
    let Some(mut cluster) = Cluster::build(Hook::Tc) else { return };
    cluster.serve_web();
    cluster.options.more_args = vec!["--tc-attach".into(), "clsact".into()];
    cluster.start();
    cluster.add_web_service();
    assert_eq!(pinned_links(cluster.host("director")), [].into(), "a filter is no link");
    assert_eq!(filters(&cluster).into_keys().collect::<Vec<_>>(), ["eth0", "eth1"]);
    let picks = Cluster::wrr_picks(15);
    assert_eq!(cluster.requests(WEB, 5), picks[..5]);

    cluster.kill();
    assert_eq!(cluster.requests(WEB, 5), picks[5..10]);
    cluster.start();
    assert_eq!(filters(&cluster).len(), 2);
    assert_eq!(cluster.requests(WEB, 5), picks[10..]);
    cluster.wait_idle();
    assert_eq!(cluster.stats()[&WEB.to_string()][0], 15);
    assert_eq!(cluster.connections().len(), 15);
    assert_eq!(cluster.drops(), [].into());

    let loaded = Loaded::of(&cluster);
    cluster.terminate();
    cluster.unload();
    assert_eq!(filters(&cluster), [].into());
    eventually("all of it is gone", patience(), || {
        let left = loaded.left();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
    let refused = cluster.host("client").run(|| std::net::TcpStream::connect_timeout(&WEB, patience()));
    assert!(refused.expect("a thread in the client").is_err());
}

/// A daemon that attaches in another way than the one before takes the old program off: none runs behind another.
#[test]
fn tc_by_clsact_then_tcx_and_back() {
    if !need::kernel(6, 6) {
        return;
    }
    let Some(mut cluster) = Cluster::build(Hook::Tc) else { return };
    cluster.serve_web();
    let clsact = vec!["--tc-attach".to_owned(), "clsact".to_owned()];
    for (round, (more_args, as_filters, as_links)) in
        [(clsact.clone(), 2, 0), (Vec::new(), 0, 2), (clsact, 2, 0)].into_iter().enumerate()
    {
        cluster.options.more_args = more_args;
        cluster.start();
        if round == 0 {
            cluster.add_web_service();
        }
        let links = pinned_links(cluster.host("director"));
        assert_eq!((filters(&cluster).len(), links.len()), (as_filters, as_links));
        assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(15)[5 * round..][..5]);
        cluster.kill();
    }
}

/// On veth pairs, which carry packets with partial checksums, that is tc; the daemon says so and why.
#[test]
fn the_hook_is_chosen_for_each_interface() {
    let Some(cluster) = Cluster::balancing(Hook::Auto) else { return };
    let status = cluster.status();
    assert_eq!(status.interfaces.keys().collect::<Vec<_>>(), ["eth0", "eth1"]);
    for (name, interface) in status.interfaces {
        assert_eq!(interface.hook, "tc", "{name}");
        assert!(interface.reason.contains("veth"), "{name}: {}", interface.reason);
    }
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(5));
}

/// `--interface` keeps the daemon off the others, those that come later included; one that is not there is an error.
fn only_the_interfaces_asked_for(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.serve_web();
    let refused = cluster.try_run("director", &format!("rlvsd --hook {hook} --interface eth7"));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("there is no Ethernet interface eth7"), "{refused:?}");

    cluster.options.more_args = vec!["--interface".into(), "eth0".into(), "--interface".into(), "late0".into()];
    for name in ["late0", "late1"] {
        cluster.run("director", &format!("ip link add {name} type veth peer name {name}-far"));
    }
    cluster.start();
    let log = std::fs::read_to_string(&cluster.options.log).expect("its log");
    assert!(!log.contains("took over"), "the daemon that was refused left something behind: {log}");
    let attached = |cluster: &Cluster| cluster.status().interfaces.into_keys().collect::<Vec<_>>();
    assert_eq!(attached(&cluster), ["eth0", "late0"]);
    cluster.run("director", "ip link delete late0");
    eventually("it is forgotten", patience(), || match attached(&cluster) {
        names if names == ["eth0"] => Ok(()),
        names => Err(format!("{names:?}")),
    });
    cluster.run("director", "ip link add late0 type veth peer name late0-far");
    eventually("it is attached again", patience(), || match attached(&cluster) {
        names if names == ["eth0", "late0"] => Ok(()),
        names => Err(format!("{names:?}")),
    });
    // The next daemon is asked for fewer, and one of those that were has gone in the meantime.
    cluster.kill();
    cluster.run("director", "ip link delete late0");
    cluster.options.more_args = vec!["--interface".into(), "eth1".into()];
    cluster.start();
    assert_eq!(attached(&cluster), ["eth1"]);
    assert_eq!(loaded::attached(&cluster).len(), 1);
}
