//! Scheduler flags: words to bits and back (ipvsadm.md §4, §8.2).

use rlvs_ipvs::model::ServiceFlags;

use crate::refusal::Refusal;

/// Flags of one scheduler, or of any if it is `None`: name and bit. The order is that of listings.
type Named = (Option<&'static str>, &'static str, u32);

/// All names. The first two flags have names of their own with sh and mh; the third has none there.
const NAMES: [Named; 7] = [
    (None, "flag-1", ServiceFlags::SCHED_1),
    (None, "flag-2", ServiceFlags::SCHED_2),
    (None, "flag-3", ServiceFlags::SCHED_3),
    (Some("sh"), "sh-fallback", ServiceFlags::SCHED_1),
    (Some("sh"), "sh-port", ServiceFlags::SCHED_2),
    (Some("mh"), "mh-fallback", ServiceFlags::SCHED_1),
    (Some("mh"), "mh-port", ServiceFlags::SCHED_2),
];

/// All three bits.
const ALL_BITS: u32 = ServiceFlags::SCHED_1 | ServiceFlags::SCHED_2 | ServiceFlags::SCHED_3;

/// The bits of a comma list. Commas in a row and at the ends are skipped.
///
/// # Errors
/// [`Refusal::SchedulerFlag`] for an unknown word, [`Refusal::IncompatibleFlag`] for one of another scheduler.
pub fn parse(list: &str, scheduler: &str) -> Result<u32, Refusal> {
    let mut bits = 0;
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let known = NAMES.iter().find(|(_, name, _)| *name == word);
        let (owner, _, bit) = known.ok_or_else(|| Refusal::SchedulerFlag(word.to_owned()))?;
        if owner.is_some_and(|owner| owner != scheduler) {
            return Err(Refusal::IncompatibleFlag(word.to_owned()));
        }
        bits |= bit;
    }
    Ok(bits)
}

/// The comma list of a service's flags, `None` if no flag is set. It is empty if the flags set have no name
/// with this scheduler.
pub fn text(flags: ServiceFlags, scheduler: &str) -> Option<String> {
    if flags.bits() & ALL_BITS == 0 {
        return None;
    }
    let owner = Some(scheduler).filter(|scheduler| NAMES.iter().any(|(owner, ..)| *owner == Some(scheduler)));
    let own = NAMES.iter().filter(|(named, ..)| *named == owner);
    let set: Vec<_> = own.filter(|(.., bit)| flags.contains(*bit)).map(|(_, name, _)| *name).collect();
    Some(set.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlvs_ipvs::model::FlagsChange;

    fn shown(bits: u32, scheduler: &str) -> Option<String> {
        text(FlagsChange::all(bits).applied_to(0), scheduler)
    }

    #[test]
    fn words_to_bits_and_back() {
        assert_eq!(parse(",flag-1,,flag-3,", "rr"), Ok(0x28));
        assert_eq!(parse("", "rr"), Ok(0));
        assert_eq!(parse("sh-port", "sh"), Ok(0x10));
        assert_eq!(parse("flag-1,sh-port", "mh"), Err(Refusal::IncompatibleFlag("sh-port".to_owned())));
        assert_eq!(parse("flag-1, flag-2", "rr"), Err(Refusal::SchedulerFlag(" flag-2".to_owned())));
        assert_eq!(shown(0x28, "rr").as_deref(), Some("flag-1,flag-3"));
        assert_eq!(shown(0x38, "mh").as_deref(), Some("mh-fallback,mh-port"));
        assert_eq!(shown(0x20, "sh").as_deref(), Some(""));
        assert_eq!(shown(0x5, "sh"), None);
    }
}
