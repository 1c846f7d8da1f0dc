//! Picks recorded from the kernel, as schedulers.md quotes them.

use super::*;
use Scheduler::{
    Failover, LeastConnection, NeverQueue, Overflow, RoundRobin, ShortestExpectedDelay, WeightedLeastConnection,
    WeightedRoundRobin,
};

/// Section 0, the table: reals 1 (w3), 2 (w2), 3 (w1), twelve SYNs left in SYN_RECV.
#[test]
fn picks_are_the_kernels() {
    let recorded = [
        (RoundRobin, "321321321321"),
        (WeightedRoundRobin, "321121321121"),
        (LeastConnection, "321321321321"),
        (WeightedLeastConnection, "321121321121"),
        (ShortestExpectedDelay, "121321121321"),
        (NeverQueue, "321121121321"),
        (Failover, "111111111111"),
        (Overflow, "111122233---"),
        (Scheduler::None, "------------"),
    ];
    for (scheduler, picks) in recorded {
        assert_eq!(Service::with(scheduler, &[3, 2, 1]).picks(12), picks, "{scheduler:?}");
    }
}

/// Section 0, overhead: one active connection weighs as much as 256 inactive ones, no more.
#[test]
fn an_active_connection_is_256_inactive_ones() {
    let service = Service::with(LeastConnection, &[1, 1]);
    service.count(2, 1, 0);
    for (inactive, picked) in [(255, 1), (256, 2), (257, 2)] {
        service.count(1, 0, inactive);
        assert_eq!(service.pick(0), Some(picked), "{inactive}");
    }
    service.overload(2, true);
    assert_eq!(service.pick(0), Some(1), "an overloaded one is none");
}

/// Section 0, first row: reals 1 (w3), 2 (w2), 3 (w1).
#[test]
fn rr_goes_through_the_list_newest_first() {
    assert_eq!(Service::with(RoundRobin, &[3, 2, 1]).picks(12), "321321321321");
}

/// Section 1: "`3213`, delete 3 -> `21212`, add 4 -> `14214`, set w(2)=0 -> `141414`".
#[test]
fn rr_through_edits() {
    let mut service = Service::with(RoundRobin, &[3, 2, 1]);
    assert_eq!(service.picks(4), "3213");
    service.delete(3);
    assert_eq!(service.picks(5), "21212");
    service.add(1);
    assert_eq!(service.picks(5), "14214");
    service.edit(2, 0);
    assert_eq!(service.picks(6), "141414");
}

/// Section 1: "reals 1..4 w1: `43`, delete 3 (the last picked) -> `214214`".
#[test]
fn rr_goes_on_after_the_place_of_a_deleted_destination() {
    let mut service = Service::with(RoundRobin, &[1, 1, 1, 1]);
    assert_eq!(service.picks(2), "43");
    service.delete(3);
    assert_eq!(service.picks(6), "214214");
}

/// Section 0: delete + add moves to the head; the model of section 1 says what follows.
#[test]
fn rr_keeps_its_place_when_a_destination_moves_to_the_head() {
    let mut service = Service::with(RoundRobin, &[1, 1, 1]);
    assert_eq!(service.picks(2), "32");
    service.delete(1);
    service.add(1); // The head, as number 4: the list is 4 3 2 and 2 was picked last.
    assert_eq!(service.picks(4), "4324");
}

/// Section 0, row wrr.
#[test]
fn wrr_with_weights_3_2_1() {
    assert_eq!(Service::with(WeightedRoundRobin, &[3, 2, 1]).picks(12), "321121321121");
}

/// Section 2, the table of weights.
#[test]
fn wrr_with_recorded_weights() {
    let recorded: [(&[u32], &str); 4] = [
        (&[4, 2, 2], "321132113211321132113211"),
        (&[5, 3, 0], "211121212111212121112121"),
        (&[6, 4], "211212112121121211212112"),
        (&[7, 5, 3], "321112121321321321112121"),
    ];
    for (weights, picks) in recorded {
        assert_eq!(Service::with(WeightedRoundRobin, weights).picks(24), picks, "weights {weights:?}");
    }
}

/// Section 2: "weights 3,2,1: `3211`; edit w(3)=5 -> `313213213331`; delete 1 -> `332323333`; add 4 w2 ->
/// `432432333432`".
#[test]
fn wrr_through_edits() {
    let mut service = Service::with(WeightedRoundRobin, &[3, 2, 1]);
    assert_eq!(service.picks(4), "3211");
    service.edit(3, 5);
    assert_eq!(service.picks(12), "313213213331");
    service.delete(1);
    assert_eq!(service.picks(9), "332323333");
    service.add(2);
    assert_eq!(service.picks(12), "432432333432");
}

/// Section 2: "weights 3,2,1 with real 1 limited to 2 connections: `32112322322322`". The connections stay, so the limit
/// is reached with the second one, which is when IPVS sets the flag; here the test does.
#[test]
fn wrr_passes_by_an_overloaded_destination() {
    let service = Service::with(WeightedRoundRobin, &[3, 2, 1]);
    let mut picks = String::new();
    while picks.len() < 14 {
        picks += &service.picks(1);
        if picks.matches('1').count() == 2 {
            service.overload(1, true);
        }
    }
    assert_eq!(picks, "32112322322322");
}

/// Section 0: "nothing eligible -> none" for every scheduler, and scheduler `none` always.
#[test]
fn nobody_eligible_is_no_pick() {
    for (name, scheduler) in Scheduler::ALL {
        let mut service = Service::new(scheduler);
        assert_eq!(service.picks(3), "---", "{name} without destinations");
        service.add(0);
        service.add(0);
        assert_eq!(service.picks(3), "---", "{name} with weights 0");
        if scheduler == Scheduler::None {
            continue;
        }
        service.delete(2);
        service.edit(1, 9);
        assert_eq!(service.picks(3), "111", "{name} with one weight");
        service.overload(1, true);
        // What was remembered is used whatever its OVERLOAD flag (section 13).
        let remembered = if scheduler == Scheduler::LocalityBased { "111" } else { "---" };
        assert_eq!(service.picks(3), remembered, "{name} with one destination, overloaded");
        service.overload(1, false);
        assert_eq!(service.picks(3), "111", "{name} with the load gone");
    }
}

/// The weights that forbid walking the list once a step: 2^31 - 1 and 1.
#[test]
fn wrr_with_the_largest_weight_skips_the_empty_rounds() {
    let service = Service::with(WeightedRoundRobin, &[1, i32::MAX as u32]);
    // Built by successive adds, the list is served once at current weight 1, then from the top.
    assert_eq!(service.picks(6), "212222");
    service.overload(2, true);
    assert_eq!(service.picks(4), "1111");
}

/// Another daemon died in the middle of a change: list, tree and place are made right from what should be there.
#[test]
fn what_another_daemon_left_half_done_is_made_right() {
    for (name, scheduler) in Scheduler::ALL {
        let mut service = Service::with(scheduler, &[1; 40]);
        for number in 0..3 {
            service.connect(number);
        }
        // A destination that never got into the list, one that should have left it, and a tree or table of nonsense.
        let mut dests: Vec<u32> = service.list().into_iter().rev().filter(|dest| *dest != 7).collect();
        service.tables.dests[50].weight.store(1);
        service.tables.dests[50].flags.store(dest_flags::AVAILABLE);
        service.dest(7).flags.store(0);
        dests.push(50);
        service.tables.words.iter().for_each(|word| word.store(3));
        service.roster = Roster::resume(&service.tables, &mut service.room, 0, dests.clone()).expect("room");
        assert!(service.list().into_iter().rev().eq(dests), "{name}");
        service.check_trees();
        let picked: Vec<Option<u32>> = (0..200).map(|number| service.connect(number)).collect();
        assert!(!picked.contains(&Some(7)), "{name}");
        if scheduler == RoundRobin {
            // 40, 39 and 38 were picked.
            assert_eq!(picked[..2], [Some(37), Some(36)]);
        }
        if scheduler == LeastConnection {
            assert!(picked.contains(&Some(50)));
        }
        service.apply(Step::Restart);
        service.check_trees();
    }
}
