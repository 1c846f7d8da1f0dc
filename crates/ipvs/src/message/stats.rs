//! Statistics in replies: STATS with 32-bit numbers and STATS64 (netlink.md §3.5).

use super::attribute::{Writer, attributes};
use super::{Contents, DecodeError};
use crate::model::Stats;

/// Names of the ten attributes, which are numbered from 1.
const NAMES: [&str; 10] =
    ["CONNS", "INPKTS", "OUTPKTS", "INBYTES", "OUTBYTES", "CPS", "INPPS", "OUTPPS", "INBPS", "OUTBPS"];

/// Whether the number at this index is 64 bits wide in STATS too: the two byte totals are.
const fn is_always_wide(index: usize) -> bool {
    index == 3 || index == 4
}

/// The ten numbers of a STATS or STATS64 nest. Numbers that are missing are 0; attributes of other numbers,
/// PAD among them, carry nothing and are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsAttributes<const WIDE: bool>(pub Stats);

impl<const WIDE: bool> Contents for StatsAttributes<WIDE> {
    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut numbers = [0u64; 10];
        for raw in attributes(payload) {
            let index = usize::from(raw.number).wrapping_sub(1);
            if let (Some(number), Some(name)) = (numbers.get_mut(index), NAMES.get(index)) {
                let wide = WIDE || is_always_wide(index);
                *number = if wide { raw.u64(name)? } else { u64::from(raw.u32(name)?) };
            }
        }
        Ok(StatsAttributes(Stats::from_numbers(numbers)))
    }

    /// Writes the form without PAD, that of kernels with unaligned access. 32-bit numbers are truncated as the
    /// kernel truncates them.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        for (index, (number, value)) in (1u16..).zip(self.0.numbers()).enumerate() {
            if WIDE || is_always_wide(index) {
                writer.put_u64(number, value);
            } else {
                writer.put_u32(number, value as u32);
            }
        }
        writer.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_numbers_are_truncated_but_not_bytes() {
        let stats = Stats::from_numbers([1 << 32 | 7; 10]);
        let narrow = StatsAttributes::<false>(stats).encode();
        assert_eq!(narrow.len(), 8 * 8 + 2 * 12);
        let read = StatsAttributes::<false>::decode(&narrow).expect("good").0.numbers();
        assert_eq!(read, [7, 7, 7, 1 << 32 | 7, 1 << 32 | 7, 7, 7, 7, 7, 7]);
        let wide = StatsAttributes::<true>(stats).encode();
        assert_eq!(wide.len(), 10 * 12);
        assert_eq!(StatsAttributes::<true>::decode(&wide), Ok(StatsAttributes(stats)));
    }

    #[test]
    fn pads_are_skipped() {
        let mut writer = Writer::default();
        writer.put(11, &[]);
        writer.put_u64(1, 5);
        let read = StatsAttributes::<true>::decode(&writer.into_bytes()).expect("good");
        assert_eq!(read.0.totals.connections, 5);
    }
}
