//! What of a data plane is in the kernel, and whether all of it has left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use aya::{
    maps::MapInfo,
    programs::{
        links::{FdLink, LinkInfo, PinnedLink},
        loaded_programs,
    },
};
use rlvs::lab::Netns;
use rlvsd::{attach::links_dir, bpffs, loader::maps_dir};

/// The BPF file system that the daemon mounts where the host has none.
const OURS: &str = "/run/rlvs/bpf";

/// The data plane of one network namespace.
#[derive(Debug)]
pub struct Loaded {
    root: PathBuf,
    maps: BTreeSet<u32>,
    programs: BTreeSet<u32>,
}

impl Loaded {
    /// What a daemon has loaded for a director.
    ///
    /// # Panics
    /// Where there is nothing.
    pub fn of(director: &Netns) -> Self {
        let root = root(director);
        let maps = pins(&maps_dir(&root)).map(|pin| MapInfo::from_pin(pin).expect("a pinned map").id()).collect();
        let programs = pins(&links_dir(&root)).map(|pin| link(&pin).program_id()).collect();
        Self { root, maps, programs }
    }

    /// Numbers of maps, and of programs at work.
    pub fn counts(&self) -> (usize, usize) {
        (self.maps.len(), self.programs.len())
    }

    /// What of it is still there: pins, mount, maps, programs. Empty when all is gone.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.root.exists() {
            left.push(format!("pins in {}", self.root.display()));
        }
        // Data planes of other namespaces keep the mount.
        if fs::read_dir(Path::new(OURS).join("rlvs")).is_err() && is_mount(OURS) {
            left.push(format!("the mount at {OURS}"));
        }
        left.extend(self.maps.iter().filter(|id| MapInfo::from_id(**id).is_ok()).map(|id| format!("map {id}")));
        let all: BTreeSet<_> = loaded_programs().flatten().map(|program| program.id()).collect();
        left.extend(self.programs.intersection(&all).map(|id| format!("program {id}")));
        left
    }
}

/// The links that are pinned for a director, one for each interface with a program on it: name of the pin, and the number
/// that the kernel gave the link. A link that keeps its number was there all the time.
///
/// # Panics
/// Where no data plane is loaded.
pub fn pinned_links(director: &Netns) -> BTreeMap<String, u32> {
    let root = root(director);
    let name = |pin: &Path| pin.file_name().unwrap_or_default().to_string_lossy().into_owned();
    pins(&links_dir(&root)).map(|pin| (name(&pin), link(&pin).id())).collect()
}

/// Where a director's pins are.
fn root(director: &Netns) -> PathBuf {
    let root = director.run(|| bpffs::root(&bpffs::Lock::take()?, false)).expect("a thread in the director");
    root.expect("a BPF file system")
}

fn pins(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn link(pin: &Path) -> LinkInfo {
    let link: FdLink = PinnedLink::from_pin(pin).expect("a pinned link").into();
    link.info().expect("what the link is")
}

fn is_mount(path: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(path))
}
