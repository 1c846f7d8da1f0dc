//! Reading and writing the settings of connections.md section 13 as the files in /proc/sys/net/ipv4/vs are read and written.

use std::collections::BTreeMap;

use rlvs_core::{
    settings::{self, Default, Sysctl},
    tables::Tables,
};
use rlvs_ipvs::Errno;

use super::Owner;
use crate::memory;

impl Owner {
    /// Puts every setting at its default.
    pub(super) fn write_default_settings(&self) {
        for sysctl in settings::ALL {
            match sysctl.default {
                Default::Numbers(numbers) => self.store(sysctl, numbers),
                Default::PagesBy32 => {
                    let pages = memory::total().unwrap_or(0) / 32;
                    self.store(sysctl, &[i32::try_from(pages).unwrap_or(i32::MAX)]);
                }
            }
        }
    }

    /// Every setting's text, by name.
    pub fn sysctls(&self) -> BTreeMap<String, String> {
        settings::ALL.iter().map(|sysctl| (sysctl.name.to_owned(), self.text(sysctl))).collect()
    }

    /// Writes a setting.
    ///
    /// # Errors
    /// `ENOENT` where there is none of this name, `EINVAL` for what is no number or none that it may have.
    pub fn set_sysctl(&mut self, name: &str, text: &str) -> Result<(), Errno> {
        let sysctl = settings::by_name(name).ok_or(Errno::NOENT)?;
        let mut numbers = self.load(sysctl);
        let written = numbers_of(text).ok_or(Errno::INVAL)?;
        if written.is_empty() || written.len() > numbers.len() {
            return Err(Errno::INVAL);
        }
        // Of two numbers the second may be left as it is.
        for (number, written) in numbers.iter_mut().zip(written) {
            *number = written;
        }
        if !sysctl.rule.allows(&numbers) {
            return Err(Errno::INVAL);
        }
        self.store(sysctl, &numbers);
        self.defend();
        Ok(())
    }

    fn load(&self, sysctl: &Sysctl) -> Vec<i32> {
        let config = self.tables.config();
        let number = |setting: &_| config.map_or(0, |config| config.setting(*setting) as i32);
        sysctl.settings.iter().map(number).collect()
    }

    fn store(&self, sysctl: &Sysctl, numbers: &[i32]) {
        let Some(config) = self.tables.config() else { return };
        for (setting, number) in sysctl.settings.iter().zip(numbers) {
            if let Some(cell) = config.settings.get(*setting as usize) {
                cell.store(*number as u32);
            }
        }
    }

    /// Numbers with tabs between them, as the kernel writes them.
    fn text(&self, sysctl: &Sysctl) -> String {
        let words: Vec<String> = self.load(sysctl).iter().map(i32::to_string).collect();
        words.join("\t")
    }
}

/// The numbers of a text, as the kernel reads them: decimal, hexadecimal after `0x`, octal after `0`. `None` where something
/// is no number of 32 bits.
fn numbers_of(text: &str) -> Option<Vec<i32>> {
    text.split_ascii_whitespace().map(number_of).collect()
}

fn number_of(word: &str) -> Option<i32> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    // `from_str_radix` would take a sign.
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    i32::try_from(if negative { -number } else { number }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_kernel_reads_them() {
        for (text, numbers) in [
            ("0", vec![0]),
            (" 3\t50\n", vec![3, 50]),
            ("-5", vec![-5]),
            ("0x10 010", vec![16, 8]),
            ("2147483647 -2147483648", vec![i32::MAX, i32::MIN]),
            ("", vec![]),
        ] {
            assert_eq!(numbers_of(text), Some(numbers), "{text:?}");
        }
        for text in ["x", "1x", "--1", "+1", "-+1", "0x", "08", "2147483648", "1.5", "-", "0x-1"] {
            assert_eq!(numbers_of(text), None, "{text:?}");
        }
    }
}
