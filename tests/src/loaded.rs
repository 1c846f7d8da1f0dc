//! What of a data plane is in the kernel, and whether all of it has left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use aya::{
    maps::{Map, MapData, MapInfo},
    programs::{
        links::{FdLink, LinkInfo, PinnedLink},
        loaded_programs,
    },
};
use rlvs::lab::Netns;
use rlvsd::{
    attach::links_dir,
    bpffs,
    loader::{TC_PROGRAM, maps_dir},
    maps::{Row, SharedArray},
};
use serde_json::Value;

use crate::Cluster;

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
    pub fn of(cluster: &Cluster) -> Self {
        let root = root(cluster.host("director"));
        let maps = pins(&maps_dir(&root)).map(|pin| MapInfo::from_pin(pin).expect("a pinned map").id()).collect();
        let mut programs: BTreeSet<_> = pins(&links_dir(&root)).map(|pin| link(&pin).program_id()).collect();
        programs.extend(filters(cluster).into_values());
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

/// Every place where a director has a program, by a name that stays, with the number that the kernel gave to what is there.
/// A program that was taken off and put on again shows by another number.
///
/// # Panics
/// Where no data plane is loaded.
pub fn attached(cluster: &Cluster) -> BTreeMap<String, u32> {
    let filters = filters(cluster).into_iter().map(|(interface, program)| (format!("{interface} by filter"), program));
    pinned_links(cluster.host("director")).into_iter().chain(filters).collect()
}

/// The links that are pinned for a director: name of the pin, and the link's number. XDP is attached so, and tc from Linux
/// 6.6 on.
///
/// # Panics
/// Where no data plane is loaded.
pub fn pinned_links(director: &Netns) -> BTreeMap<String, u32> {
    let name = |pin: &Path| pin.file_name().unwrap_or_default().to_string_lossy().into_owned();
    pins(&links_dir(&root(director))).map(|pin| (name(&pin), link(&pin).id())).collect()
}

/// The filters of ours on a director's interfaces: interface, and the program's number. Older kernels' tc is attached so.
///
/// # Panics
/// Where the director has no namespace.
pub fn filters(cluster: &Cluster) -> BTreeMap<String, u32> {
    let json = |line: &str| -> Vec<Value> {
        let printed = cluster.run("director", line);
        // `tc` prints nothing at all where there is nothing.
        if printed.trim().is_empty() { Vec::new() } else { serde_json::from_str(&printed).expect("a list in JSON") }
    };
    let mut filters = BTreeMap::new();
    for interface in json("ip -j link show") {
        let interface = interface["ifname"].as_str().expect("a name");
        let shown = json(&format!("tc -j filter show dev {interface} ingress"));
        let ours = shown.iter().map(|filter| &filter["options"]["prog"]).find(|program| program["name"] == TC_PROGRAM);
        let id = ours.and_then(|program| u32::try_from(program["id"].as_u64()?).ok());
        filters.extend(id.map(|id| (interface.to_owned(), id)));
    }
    filters
}

/// The rows of a director's pinned array map.
///
/// # Panics
/// Where no data plane is loaded, or the rows are of another size.
pub fn rows<R: Row>(director: &Netns, name: &str) -> SharedArray<R> {
    let map = MapData::from_pin(maps_dir(&root(director)).join(name)).expect("a pinned map");
    SharedArray::new(Map::Array(map)).expect("rows of this kind")
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
