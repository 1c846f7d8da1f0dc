//! rlvs does what a real kernel's IPVS was recorded to do; and the recordings are what a real kernel does.
//!
//! `rlvs_tests::differential` says how it works. A single scenario, with all that it prints:
//! `cargo run -p rlvs-tests --bin rlvs-differential -- compare NAME`.

use rlvs_tests::{
    Hook,
    differential::{Scenario, System, compare, guest, lab, run, scenarios},
    need, note,
};

/// What a fresh kernel is asked again, so that the recordings are known to be of what they say: one scenario of each subject.
const SAMPLE: [&str; 8] = [
    "basics/tcp",
    "schedulers/wrr",
    "states/tcp",
    "creation/no-destination",
    "persistence/one-service",
    "thresholds/raised",
    "icmp/masquerading",
    "tunnels/gre",
];

#[test]
fn every_scenario_is_recorded() {
    let missing: Vec<_> =
        scenarios::all().iter().map(|scenario| scenario.name).filter(|name| compare::recorded(name).is_err()).collect();
    assert_eq!(missing, [""; 0], "record them with `cargo xtask record-differential`");
}

#[test]
fn rlvs_on_tc_does_as_the_kernel() {
    does_as_the_kernel(Hook::Tc);
}

#[test]
fn rlvs_on_xdp_does_as_the_kernel() {
    does_as_the_kernel(Hook::Xdp);
}

/// Runs all scenarios; those that are pending must differ, lest they be forgotten on the list.
fn does_as_the_kernel(hook: Hook) {
    if !need::lab() || !lab::has_what_it_needs() {
        return;
    }
    let pending = compare::pending();
    let outcome = compare::with_recorded(&run(System::Rlvs(hook), &scenarios::all(), |_, _| ()), &compare::intended());
    let (mut broken, mut waiting) = (Vec::new(), 0);
    for (name, differences) in &outcome.different {
        if pending.contains(name) {
            waiting += 1;
        } else {
            broken.push(format!("-- {name}: `-` the kernel, `+` rlvs\n{differences}"));
        }
    }
    note(&format!("{} scenarios as the kernel on {hook}, {waiting} pending", outcome.equal.len()));
    assert!(broken.is_empty(), "{} scenarios differ from the kernel on {hook}:\n{}", broken.len(), broken.join("\n"));
    let done: Vec<_> = outcome.equal.iter().filter(|name| pending.contains(*name)).collect();
    // A scenario may be done on one hook before it is on the other.
    if !done.is_empty() {
        note(&format!(
            "no longer pending on {hook}, to be taken off tests/differential/pending.txt if so on both: {done:?}"
        ));
    }
}

#[test]
fn recordings_are_of_a_real_kernel() {
    if !need::lab() || !lab::has_what_it_needs() || !lab::guest_has_what_it_needs() {
        return;
    }
    let sample: Vec<Scenario> =
        scenarios::all().into_iter().filter(|scenario| SAMPLE.contains(&scenario.name)).collect();
    assert_eq!(sample.len(), SAMPLE.len(), "a scenario of the sample is gone");
    let dir = std::env::temp_dir().join(format!("rlvs-guest-{}", std::process::id()));
    let result = guest::run(env!("CARGO_BIN_EXE_rlvs-differential").as_ref(), &dir, &sample);
    std::fs::remove_dir_all(&dir).expect("the guest's files removed");
    match result {
        Ok((transcripts, system)) => {
            let different = compare::with_recorded(&transcripts, &[]).different;
            let shown: String = different.iter().map(|(name, text)| format!("-- {name}\n{text}\n")).collect();
            assert!(different.is_empty(), "`-` recorded, `+` {system} now:\n{shown}");
        }
        // It needs much of the processor that some virtual machines do not give it: then the recordings are relied on.
        Err(guest::Error::NoBoot(said)) => note(&format!("SKIPPED: no real kernel to compare with boots here: {said}")),
        Err(error) => panic!("{error}"),
    }
}
