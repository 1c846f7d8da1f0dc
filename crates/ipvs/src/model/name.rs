//! Short names: schedulers, persistence engines, interfaces.

use std::fmt;

/// A name of 1..=`MAX` bytes without NUL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name<const MAX: usize>(Box<str>);

/// Name of a scheduler, at most 15 bytes (netlink.md §3.2).
pub type SchedulerName = Name<15>;
/// Name of a persistence engine, at most 16 bytes (netlink.md §3.2).
pub type EngineName = Name<16>;
/// Name of a network interface, at most 15 bytes.
pub type InterfaceName = Name<15>;

impl<const MAX: usize> Name<MAX> {
    /// The name, or `None` if it is empty, too long, or contains a NUL.
    pub fn new(name: &str) -> Option<Name<MAX>> {
        let fits = !name.is_empty() && name.len() <= MAX && !name.bytes().any(|byte| byte == 0);
        fits.then(|| Name(name.into()))
    }

    /// The name made of these bytes, under the same conditions, if they are UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Option<Name<MAX>> {
        std::str::from_utf8(bytes).ok().and_then(Name::new)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Name<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Name<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_not_empty() {
        assert!(SchedulerName::new("wlc").is_some());
        assert!(SchedulerName::new("").is_none());
        assert!(SchedulerName::new("0123456789abcdef").is_none());
        assert!(EngineName::new("0123456789abcdef").is_some());
        assert!(SchedulerName::new("a\0b").is_none());
        assert!(SchedulerName::from_bytes(&[0xff]).is_none());
    }
}
