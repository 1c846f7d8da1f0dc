//! Numbers and texts as the command line takes them (ipvsadm.md §4).

use std::ops::RangeInclusive;

/// Largest timeout in seconds the command line takes: a month of 31 days.
pub(crate) const TIMEOUT_MAX_S: u32 = 31 * 24 * 60 * 60;

/// The number a whole word says in decimal: leading blanks and a sign are allowed, anything else is not.
/// Numbers beyond 64 bits are cut to the nearest.
pub(crate) fn number(word: &str) -> Option<i64> {
    let (negative, digits) = sign_and_digits(word);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| saturating_value(negative, digits))
}

/// The number of a word, if it is one and lies in the range.
pub(crate) fn number_in<T>(word: &str, range: RangeInclusive<T>) -> Option<T>
where
    T: TryFrom<i64> + PartialOrd,
{
    let number = T::try_from(number(word)?).ok()?;
    range.contains(&number).then_some(number)
}

/// The number a word starts with, 0 if it starts with none: what follows the digits is ignored.
pub(crate) fn leading_number(word: &str) -> i64 {
    let (negative, rest) = sign_and_digits(word);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    saturating_value(negative, rest.get(..end).unwrap_or_default())
}

/// The text cut to at most `max` bytes, between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
}

/// Whether a byte is a blank to the C library, in the C locale.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

fn sign_and_digits(word: &str) -> (bool, &str) {
    let word = word.trim_start_matches(is_blank);
    match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    }
}

fn saturating_value(negative: bool, digits: &str) -> i64 {
    let add = |value: i64, byte: u8| value.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
    let value = digits.bytes().fold(0, add);
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_numbers() {
        for (word, expected) in [("080", 80), ("+80", 80), (" \t80", 80), ("-1", -1), ("-0", 0)] {
            assert_eq!(number(word), Some(expected), "{word:?}");
        }
        for word in ["", " ", "+", "-", "0x10", "80 ", "8a", "+-1", "١"] {
            assert_eq!(number(word), None, "{word:?}");
        }
        assert_eq!(number("99999999999999999999"), Some(i64::MAX));
        assert_eq!(number_in("4294967295", 1..=u32::MAX), Some(u32::MAX));
        assert_eq!(number_in("4294967296", 1..=u32::MAX), None);
        assert_eq!(number_in("0", 1..=u16::MAX), None);
    }

    #[test]
    fn leading_digits() {
        assert_eq!(leading_number("64abc"), 64);
        assert_eq!(leading_number(" -5x"), -5);
        assert_eq!(leading_number("abc"), 0);
    }

    #[test]
    fn cutting_respects_characters() {
        assert_eq!(cut("abc", 15), "abc");
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("", 3), "");
    }
}
