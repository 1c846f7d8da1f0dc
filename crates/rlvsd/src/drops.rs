//! The last dropped packets of each reason, as the data plane left them.

use std::fmt::Write;

use nix::net::if_::if_indextoname;
use rlvs_core::rows::{SAMPLES, SampleRow};
use rlvs_ipvs::local::Sample;

use crate::maps::SharedArray;

/// Beginnings of dropped frames.
pub struct Samples(pub SharedArray<SampleRow>);

impl Samples {
    /// Those of one reason (the index of its counter), newest first. `now` and `hz` are jiffies and jiffies per second.
    pub fn of(&self, reason: u32, now: u64, hz: u64) -> Vec<Sample> {
        let first = reason.saturating_mul(SAMPLES);
        let mut rows: Vec<SampleRow> = (0..SAMPLES).filter_map(|n| self.0.copy(first.checked_add(n)?)).collect();
        rows.retain(|row| row.at != 0);
        rows.sort_by_key(|row| std::cmp::Reverse(row.at));
        rows.iter().map(|row| sample(row, now, hz)).collect()
    }
}

fn sample(row: &SampleRow, now: u64, hz: u64) -> Sample {
    let kept = row.bytes.len().min(row.len as usize);
    Sample {
        age_ms: now.saturating_sub(row.at).saturating_mul(1000) / hz.max(1),
        interface: interface_name(row.interface),
        length: row.len,
        bytes: hex(row.bytes.get(..kept).unwrap_or_default()),
    }
}

/// The name of an interface; its number where it is gone.
fn interface_name(index: u32) -> String {
    // Of an interface that is gone the name is empty, or the question an error.
    let name = if_indextoname(index).ok().filter(|name| !name.is_empty());
    name.map_or_else(|| index.to_string(), |name| name.to_string_lossy().into_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlvs_core::rows::SAMPLE_LEN;

    #[test]
    fn a_sample_shows_what_was_kept() {
        let mut row = SampleRow { at: 900, len: 3, interface: u32::MAX, bytes: [0; SAMPLE_LEN] };
        row.bytes[..3].copy_from_slice(&[1, 0xab, 0]);
        let shown = sample(&row, 1000, 250);
        assert_eq!((shown.age_ms, shown.length, shown.bytes.as_str()), (400, 3, "01ab00"));
        assert_eq!(shown.interface, u32::MAX.to_string());
        row.len = 1514;
        assert_eq!(sample(&row, 0, 0).bytes.len(), 2 * SAMPLE_LEN);
    }
}
