//! The rules that mark packets: kept in two halves of one map, of which packets read the one that the configuration names.

use std::{
    thread,
    time::{Duration, Instant},
};

use rlvs_core::{
    rows::{Address, MARKS_MAX, MarkRow, Span, family},
    tables::Tables,
};
use rlvs_ipvs::{
    Errno,
    marks::{MarkRule, Network, Ports},
};

use super::{Owner, convert};

/// How long a half rests that packets no longer read: one that still does is through in microseconds.
const REST: Duration = Duration::from_millis(2);

impl Owner {
    /// The rules, in the order in which they are tried.
    pub fn marks(&self) -> Vec<MarkRule> {
        let span = self.marks_span();
        (0..span.len).filter_map(|place| rule(self.tables.marks.get(span.base.wrapping_add(place))?)).collect()
    }

    /// Adds a rule after the others.
    ///
    /// # Errors
    /// `EINVAL` for one that makes no sense, `EEXIST` for one that is there, `ENOSPC` where there are too many.
    pub fn add_mark(&mut self, rule: &MarkRule) -> Result<(), Errno> {
        rule.check().map_err(|_| Errno::INVAL)?;
        let mut rules = self.marks();
        if rules.contains(rule) {
            return Err(Errno::EXIST);
        }
        if rules.len() >= MARKS_MAX as usize {
            return Err(Errno::NOSPC);
        }
        rules.push(*rule);
        self.write_marks(&rules);
        Ok(())
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// `ENOENT` where it is not there.
    pub fn delete_mark(&mut self, rule: &MarkRule) -> Result<(), Errno> {
        let place = self.marks().iter().position(|other| other == rule).ok_or(Errno::NOENT)?;
        self.delete_mark_at(place)
    }

    /// Removes the rule at a place, counted from 0.
    ///
    /// # Errors
    /// `ENOENT` where there are not so many.
    pub fn delete_mark_at(&mut self, place: usize) -> Result<(), Errno> {
        let mut rules = self.marks();
        if place >= rules.len() {
            return Err(Errno::NOENT);
        }
        rules.remove(place);
        self.write_marks(&rules);
        Ok(())
    }

    /// Removes all rules.
    pub fn flush_marks(&mut self) {
        self.write_marks(&[]);
    }

    fn marks_span(&self) -> Span {
        self.tables.config().map_or(Span::default(), |config| Span::unpack(config.marks.load()))
    }

    /// Writes the rules into the half that packets do not read, and has them read it.
    fn write_marks(&mut self, rules: &[MarkRule]) {
        if let Some(left) = self.marks_written.and_then(|when: Instant| REST.checked_sub(when.elapsed())) {
            thread::sleep(left);
        }
        let base = if self.marks_span().base == 0 { MARKS_MAX } else { 0 };
        for (place, rule) in (base..).zip(rules) {
            self.tables.marks.update(place, |row| *row = mark_row(rule));
        }
        if let Some(config) = self.tables.config() {
            config.marks.store(Span { base, len: rules.len() as u32 }.pack());
        }
        self.marks_written = Some(Instant::now());
    }
}

fn mark_row(rule: &MarkRule) -> MarkRow {
    let Ports(source_port_first, source_port_last) = rule.source_ports;
    let Ports(destination_port_first, destination_port_last) = rule.destination_ports;
    MarkRow {
        source: convert::address(rule.source.address()),
        source_mask: convert::address(rule.source.mask()),
        destination: convert::address(rule.destination.address()),
        destination_mask: convert::address(rule.destination.mask()),
        source_port_first,
        source_port_last,
        destination_port_first,
        destination_port_last,
        mark: rule.mark,
        protocol: rule.protocol,
        family: convert::family_number(rule.family()),
        reserved: 0,
    }
}

/// The rule that a row came from.
fn rule(row: &MarkRow) -> Option<MarkRule> {
    let network = |address: &Address, mask: &Address| {
        Network::masked(convert::ip(address, row.family), convert::ip(mask, row.family))
    };
    let known = row.family == family::V4 || row.family == family::V6;
    known.then_some(())?;
    Some(MarkRule {
        source: network(&row.source, &row.source_mask)?,
        destination: network(&row.destination, &row.destination_mask)?,
        protocol: row.protocol,
        source_ports: Ports(row.source_port_first, row.source_port_last),
        destination_ports: Ports(row.destination_port_first, row.destination_port_last),
        mark: row.mark,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_comes_back_from_its_row() {
        for (source, destination) in [("10.0.0.0/8", "0.0.0.0/0"), ("2001:db8::/33", "::1/128"), ("::/0", "::/0")] {
            let rule_in = MarkRule {
                source: source.parse().expect("a network"),
                destination: destination.parse().expect("a network"),
                protocol: 17,
                source_ports: Ports(1, 2),
                destination_ports: Ports(3, 4),
                mark: 0x8000_0001,
            };
            assert_eq!(rule(&mark_row(&rule_in)), Some(rule_in));
        }
    }
}
