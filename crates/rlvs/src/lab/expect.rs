//! What a scheduler must pick, worked out apart from the director's own code so that the one checks the other.

/// The servers that weighted round robin picks for `count` connections, as indices in the order the servers were added.
///
/// Follows the kernel's ip_vs_wrr.c, for a service that got its servers one by one and has not been edited since. Two
/// things there are easily missed: a server is added at the head of the list, and each addition keeps the current weight
/// as it is, so the first round serves every server once before the heavy ones get their extra turns.
pub fn wrr(weights: &[u32], count: usize) -> Vec<usize> {
    let (mut current, mut step, mut highest) = (0, 1, 0);
    for added in 1..=weights.len() {
        let so_far = &weights[..added];
        step = so_far.iter().copied().filter(|weight| *weight > 0).fold(0, gcd).max(1);
        highest = so_far.iter().copied().max().unwrap_or(0).saturating_sub(step - 1);
        if current > highest || current == 0 {
            current = highest;
        } else if step > 1 {
            current = current / step * step + 1;
        }
    }
    if highest == 0 {
        return Vec::new();
    }
    let mut picks = Vec::with_capacity(count);
    // A weight of `current` or more earns a turn in this walk over the list; the next walk asks for less.
    while picks.len() < count {
        let round = (0..weights.len()).rev().filter(|server| weights[*server] >= current);
        picks.extend(round.take(count - picks.len()));
        current = if current > step { current - step } else { highest };
    }
    picks
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from the kernel's own IPVS; servers are numbered from 1.
    #[test]
    fn picks_as_the_kernel_does() {
        for (weights, picks) in [
            (&[3, 2, 1][..], "321121321121"),
            (&[4, 2, 2], "321132113211321132113211"),
            (&[5, 3, 0], "211121212111212121112121"),
            (&[6, 4], "211212112121121211212112"),
            (&[7, 5, 3], "321112121321321321112121"),
        ] {
            let picked: String = wrr(weights, picks.len()).iter().map(|server| (server + 1).to_string()).collect();
            assert_eq!(picked, picks, "weights {weights:?}");
        }
    }

    #[test]
    fn the_lab_s_weights_share_two_to_three_in_any_five() {
        let picks = wrr(&[2, 3], 100);
        for window in picks.windows(5) {
            assert_eq!(window.iter().filter(|server| **server == 0).count(), 2);
        }
    }

    #[test]
    fn picks_nobody_where_nobody_has_weight() {
        assert!(wrr(&[0, 0], 5).is_empty());
        assert!(wrr(&[], 5).is_empty());
        assert!(wrr(&[1], 0).is_empty());
    }
}
