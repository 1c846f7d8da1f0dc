//! lblc and lblcr against the vectors of schedulers.md sections 0, 13 and 14.

use super::*;
use Scheduler::{LocalityBased, LocalityBasedReplicated};

/// Section 0, the table: one virtual address.
#[test]
fn picks_for_one_address() {
    assert_eq!(Service::with(LocalityBased, &[3, 2, 1]).picks(12), "332221111111");
    assert_eq!(Service::with(LocalityBasedReplicated, &[3, 2, 1]).picks(12), "332221111121");
}

/// Section 13: four virtual addresses in turn.
#[test]
fn each_address_keeps_its_destination() {
    let service = Service::with(LocalityBased, &[3, 2, 1]);
    assert_eq!(digits((0..16).map(|number| service.connect(number))), "3211321132113211");
}

/// Section 13: a bound scheduler begins without memory; entries of another binding are not found.
#[test]
fn another_binding_remembers_nothing() {
    let mut service = Service::with(LocalityBased, &[5, 5]);
    assert_eq!(service.picks(2), "22");
    service.apply(Step::Rebind);
    assert_eq!(service.picks(1), "1");
}

/// Section 14, step 2: after a day without a change the most loaded member leaves the set.
#[test]
fn sets_shrink() {
    let mut service = Service::with(LocalityBasedReplicated, &[1, 1]);
    let size = |service: &Service| {
        let key = rows::CacheKey { address: virtual_address(0), generation: 1, index: 0 };
        service.tables.find_cached(&key).map(|entry| entry.value)
    };
    assert_eq!(service.picks(3), "221");
    assert_eq!(size(&service), Some(2));
    service.apply(Step::Wait(86_400));
    assert_eq!(service.picks(1), "1");
    assert_eq!(size(&service), Some(2), "not yet");
    service.apply(Step::Wait(1));
    service.count(2, 5, 0);
    service.picks(1);
    assert_eq!(size(&service), Some(1));
}

use crate::rows;
