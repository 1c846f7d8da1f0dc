//! The machine's memory, in pages, as IPVS looks at it (connections.md section 11).

use std::fs;

use rustix::param::page_size;

/// Pages that are free or hold buffers of block devices; `None` where the kernel does not say.
pub fn available() -> Option<i64> {
    let text = meminfo()?;
    Some(pages(&text, "MemFree")?.saturating_add(pages(&text, "Buffers").unwrap_or(0)))
}

/// All pages.
pub fn total() -> Option<i64> {
    pages(&meminfo()?, "MemTotal")
}

fn meminfo() -> Option<String> {
    fs::read_to_string("/proc/meminfo").ok()
}

/// The pages in a line such as `MemFree:   1024 kB`.
fn pages(meminfo: &str, name: &str) -> Option<i64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: i64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / (page_size() as i64 / 1024).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_by_name() {
        let text = "MemTotal:       16384 kB\nMemFree:         8192 kB\nMemFreeOdd: 1 kB\nBuffers:  x kB\n";
        let per_page = page_size() as i64 / 1024;
        assert_eq!(pages(text, "MemFree"), Some(8192 / per_page));
        assert_eq!(pages(text, "Buffers"), None);
        assert_eq!(pages(text, "Cached"), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(available() > Some(0) && total() > available());
    }
}
