//! One data plane, three homes: the same frames go through the core natively and through the loaded tc and XDP programs
//! (BPF_PROG_TEST_RUN), and every byte, verdict, connection, counter and scheduler must come out the same.
//!
//! The programs ask the kernel's own routes and neighbours, in a network namespace of the test ([`network`]); the native
//! core gets the same answers. Timeouts are so long that the kernel's clock, which goes on meanwhile, decides nothing.

mod homes;
mod network;
mod packet;
mod traffic;

use std::{collections::HashSet, env};

use rlvs::lab::Netns;
use rlvs_core::{
    director::direct,
    flow::Flow,
    native::{Frame, NativeTables},
    rows::FlowKey,
    scratch::Scratch,
    verdict::{self, Verdict},
};
use rlvs_tests::need;

use homes::{Kernel, Program};
use network::Network;
use traffic::{Sent, Traffic};

/// Frames of one run; a run has tables, links and a seed of its own.
const FRAMES: usize = 14_000;
/// Runs one seed instead of these: `RLVS_PARITY_SEED=7 cargo test -p rlvs-tests --test parity`.
const SEED_VARIABLE: &str = "RLVS_PARITY_SEED";
const SEEDS: [u64; 4] = [20_260_101, 20_260_102, 20_260_103, 20_260_104];

#[test]
fn native_tc_and_xdp_agree_on_every_frame() {
    if !need::lab() || !need::programs(&[("ip", "iproute2")]) {
        return;
    }
    let wanted = env::var(SEED_VARIABLE).ok().map(|seed| vec![seed.parse().expect("a number as seed")]);
    for seed in wanted.unwrap_or(SEEDS.to_vec()) {
        let netns = Netns::create(&format!("rlvs-parity-{}", std::process::id())).expect("a network namespace");
        netns.run(|| agree(seed)).expect("a thread in the network namespace");
    }
}

/// Runs all frames through all homes, inside the network namespace.
fn agree(seed: u64) {
    println!("{SEED_VARIABLE}={seed}");
    let network = Network::build();
    let mut kernels = [Program::Tc, Program::Xdp].map(|program| Kernel::load(program, &network));
    let now = kernels[0].jiffies();
    let native = homes::native(&network);
    let mut traffic = Traffic::new(seed, network.ports.each_ref().map(|port| port.address));
    let mut verdicts = vec![0u64; verdict::COUNTERS as usize];
    let mut keys = HashSet::new();

    for number in 0..FRAMES {
        if number == FRAMES / 2 {
            homes::disturb(&native);
            kernels.iter().for_each(|kernel| homes::disturb(&kernel.tables));
        }
        let sent = traffic.next();
        network.arrive_by(sent.port);
        let mut bytes = sent.bytes.clone();
        let verdict = through_native(&native, &network, &sent, &mut bytes, now);
        verdicts[verdict.counter() as usize] += 1;
        keys.extend(keys_of(&sent.bytes));
        for kernel in &mut kernels {
            if let Err(difference) = kernel.check(&network.ports[sent.port], &sent.bytes, verdict, &bytes) {
                panic!("frame {number} of seed {seed}: {difference}\nframe {:02x?}", sent.bytes);
            }
        }
        traffic.saw(&sent, verdict, &bytes);
    }
    print(&verdicts);
    keys.extend(homes::flows(&native));
    for kernel in kernels {
        homes::compare(&native, &kernel, &keys);
        kernel.compare_verdicts();
        println!("{:?}: the same; {} frames too short for the kernel to run it", kernel.program, kernel.refused);
        assert!(kernel.refused < FRAMES / 50);
    }
    require_variety(&verdicts, &native);
}

fn through_native(tables: &NativeTables, network: &Network, sent: &Sent, bytes: &mut Vec<u8>, now: u64) -> Verdict {
    let for_this_host = bytes.starts_with(&network.ports[sent.port].address);
    direct(&mut Frame { bytes, for_this_host }, tables, &mut Scratch::NEW.clone(), now)
}

/// The flow that a frame shows, and that of its answers: where the index may have entries.
fn keys_of(bytes: &[u8]) -> Vec<FlowKey> {
    let mut bytes = bytes.to_vec();
    let mut flow = Flow::NONE;
    // What it says of a frame that is none of ours counts for nothing, and does no harm.
    let _ = flow.parse(&mut Frame { bytes: &mut bytes, for_this_host: true });
    vec![flow.key, flow.key.reversed()]
}

fn print(verdicts: &[u64]) {
    for (index, name, _) in verdict::NAMES {
        println!("{:>8} {name}", verdicts[*index as usize]);
    }
}

/// A comparison of nothing would pass: the frames must have led through every part of the data plane.
fn require_variety(verdicts: &[u64], native: &NativeTables) {
    // What takes tables without a configuration or stages, two CPUs, a frame that shrinks under the program, an FTP service, a
    // backup, an overloaded host, another setting or a link that is narrower than IP allows, does not happen here.
    let out_of_reach = [
        "pass_not_ready",
        "pass_ftp_data",
        "pass_backup_only",
        "drop_raced",
        "drop_unwritable",
        "drop_mtu_too_small",
        "drop_defence_rate",
        "drop_not_answered",
        "drop_stage_missing",
    ];
    for (index, name, _) in verdict::NAMES {
        assert!(verdicts[*index as usize] > 0 || out_of_reach.contains(name), "no frame led to {name}");
    }
    let states: HashSet<u8> = native.conns.iter().map(|row| row.life().state).collect();
    assert!(states.len() >= 6, "TCP states reached: {states:?}");
}
