//! The order of listings (ipvsadm.md §8.4).

use std::cmp::Ordering;
use std::net::IpAddr;

use rlvs_ipvs::model::{DestinationKey, ServiceKey};

/// Sorts as the original does: stably, by halves, with a comparison that is not transitive. (The standard
/// library's sort demands a transitive one.) For values far apart the result depends on the order before.
pub fn sort<T>(items: Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let mut left = items;
    let right = left.split_off(left.len() / 2);
    let mut left = sort(left, compare).into_iter().peekable();
    let mut right = sort(right, compare).into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let from_left = compare(a, b) != Ordering::Greater;
        merged.extend(if from_left { left.next() } else { right.next() });
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

/// Compares services by mark, family, protocol, address, port.
pub fn services(a: &ServiceKey, b: &ServiceKey) -> Ordering {
    let (a_protocol, a_address, a_port) = parts(a);
    let (b_protocol, b_address, b_port) = parts(b);
    difference(a.mark(), b.mark())
        .then_with(|| a.family().number().cmp(&b.family().number()))
        .then_with(|| a_protocol.cmp(&b_protocol))
        .then_with(|| addresses(a_address, b_address))
        .then_with(|| a_port.cmp(&b_port))
}

/// Compares servers by address and port. Those of different families have no order of their own in the
/// original; here IPv4 comes first.
pub fn servers(a: &DestinationKey, b: &DestinationKey) -> Ordering {
    addresses(a.address, b.address).then_with(|| a.port.cmp(&b.port))
}

fn parts(key: &ServiceKey) -> (u16, IpAddr, u16) {
    match *key {
        ServiceKey::Address { protocol, address, port } => (protocol.0, address, port),
        ServiceKey::Mark { family, .. } => (0, family.unspecified(), 0),
    }
}

fn addresses(a: IpAddr, b: IpAddr) -> Ordering {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => difference(a.to_bits(), b.to_bits()),
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let word = |bits: u128, shift: u32| (bits >> shift) as u32;
            let words = [96, 64, 32, 0].map(|shift| difference(word(a.to_bits(), shift), word(b.to_bits(), shift)));
            words.into_iter().find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => Ordering::Less,
        (IpAddr::V6(_), IpAddr::V4(_)) => Ordering::Greater,
    }
}

/// The sign of the difference in signed 32-bit arithmetic, which overflows for values far apart.
fn difference(a: u32, b: u32) -> Ordering {
    a.wrapping_sub(b).cast_signed().cmp(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_apart_is_the_wrong_way_round() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(addresses(address("10.0.0.1"), address("10.0.0.2")), Ordering::Less);
        assert_eq!(addresses(address("192.168.0.1"), address("10.0.0.1")), Ordering::Less);
        assert_eq!(difference(0x8000_0001, 1), Ordering::Less);
        assert_eq!(addresses(address("2001:db8::1"), address("2001:db8::2")), Ordering::Less);
        assert_eq!(addresses(address("2001:db8::1"), address("2001:db8::ffff:2")), Ordering::Greater);
    }

    #[test]
    fn sorting_is_stable_and_survives_cycles() {
        let by_tens = |a: &u32, b: &u32| (a / 10).cmp(&(b / 10));
        assert_eq!(sort(vec![31, 25, 11, 22, 13, 30], &by_tens), [11, 13, 25, 22, 31, 30]);
        let cycle = |a: &u32, b: &u32| difference(*a, *b);
        let sorted = sort((0..1000u32).map(|n| n.wrapping_mul(2_654_435_761)).collect(), &cycle);
        assert_eq!(sorted.len(), 1000);
    }
}
