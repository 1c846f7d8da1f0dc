//! A destination's flags as the owner changes them: packets set and clear one of them meanwhile.

use rlvs_core::{
    cell::Cell64,
    rows::{DestRow, dest_flags},
};

/// Replaces a destination's flags by what `change` makes of them, whatever packets do to them in the same moment.
pub fn change_flags(flags: &Cell64, change: impl Fn(u64) -> u64) {
    let mut seen = flags.load();
    loop {
        let found = flags.swap_if(seen, change(seen));
        if found == seen {
            return;
        }
        seen = found;
    }
}

/// `flags` after an edit of the upper threshold: it ends an overload where there is no threshold any more, or a higher one,
/// and never begins one (connections.md section 8, "edit").
pub fn after_edit(flags: u64, old_upper: u32, new_upper: u32) -> u64 {
    if new_upper == 0 || new_upper > old_upper { flags & !dest_flags::OVERLOAD } else { flags }
}

/// Marks a destination as one that is gone from its service.
pub fn withdraw(row: &DestRow) {
    change_flags(&row.flags, |flags| flags & !dest_flags::AVAILABLE);
}

/// Says whether a destination's address is the director's own.
pub fn set_local(row: &DestRow, local: bool) {
    let bit = if local { dest_flags::LOCAL } else { 0 };
    change_flags(&row.flags, |flags| (flags & !dest_flags::LOCAL) | bit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_threshold_or_none_ends_an_overload_and_nothing_begins_one() {
        let both = dest_flags::AVAILABLE | dest_flags::OVERLOAD;
        for (old, new, after) in [(4, 0, 1), (4, 5, 1), (4, 4, both), (4, 3, both), (0, 0, 1)] {
            assert_eq!(after_edit(both, old, new), after, "{old} -> {new}");
        }
        assert_eq!(after_edit(dest_flags::AVAILABLE, 9, 1), dest_flags::AVAILABLE);
    }
}
