//! Large numbers in narrow columns (ipvsadm.md §8.3).

/// A number in a column of 9: scaled down with a letter, or in full. What is too wide overflows.
pub(super) fn column(value: u64, exact: bool) -> String {
    if exact {
        return plain_column(value);
    }
    let (divisor, letter) = match value {
        0..100_000_000 => return plain_column(value),
        100_000_000..1_000_000_000 => (1_000, 'K'),
        1_000_000_000..100_000_000_000 => (1_000_000, 'M'),
        100_000_000_000..100_000_000_000_000 => (1_000_000_000, 'G'),
        100_000_000_000_000.. => (1_000_000_000_000, 'T'),
    };
    format!("{:>8}{letter}", value / divisor)
}

/// A number in full behind a blank, in a column of 9 unless it is wider.
pub(super) fn plain_column(value: u64) -> String {
    format!(" {value:>8}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_change_where_they_should() {
        for (value, text) in [
            (99_999_999, " 99999999"),
            (100_000_000, "  100000K"),
            (999_999_999, "  999999K"),
            (1_000_000_000, "    1000M"),
            (99_999_999_999, "   99999M"),
            (100_000_000_000, "     100G"),
            (100_000_000_000_000, "     100T"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(column(value, false), text);
        }
        assert_eq!(column(12_345_678_901, true), " 12345678901");
    }
}
