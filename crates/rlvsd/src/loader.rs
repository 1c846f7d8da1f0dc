//! Loads the data plane: the object that is part of this program, its maps pinned so that they outlive the daemon.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray, RingBuf, Stack},
    programs::{SchedClassifier, Xdp},
};
use rlvs_core::rows::{ABI, ConfigRow, ConnRow, CursorRow, DestRow, MemberRow, ServiceRow};

use crate::maps::SharedArray;

/// The eBPF object: built by `cargo xtask bpf`, committed, the same on every machine.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("RLVS_EMBEDDED_OBJECT"));

/// Name of the tc program.
pub const TC_PROGRAM: &str = "rlvs_tc";
/// Name of the XDP program.
pub const XDP_PROGRAM: &str = "rlvs_xdp";
/// Name of the program that reads the kernel's clocks.
pub const CLOCK_PROGRAM: &str = "rlvs_clock";

/// Maps that outlive the daemon. VERDICTS and STATS are counters that should not jump back either.
const PINNED: [&str; 13] = [
    "CONFIG",
    "CURSOR",
    "SERVICE_INDEX",
    "SERVICES",
    "DESTS",
    "MEMBERS",
    "FLOWS",
    "CONNS",
    "FREE_CONNS",
    "STATS",
    "VERDICTS",
    "INTERFACES",
    "NEIGHBOURS",
];

/// How many rows the tables have. Fixed while the data plane is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Virtual services.
    pub services: u32,
    /// Destinations, those that linger because connections name them included.
    pub dests: u32,
    /// Connections.
    pub conns: u32,
}

impl Sizes {
    /// Default number of virtual services: what a large Kubernetes cluster has.
    pub const SERVICES: u32 = 65_536;
    /// Default number of destinations: two for each service. Costs 40 bytes a CPU and 176 bytes each.
    pub const DESTS: u32 = 131_072;
    /// Default number of connections: about 90 MB, allocated at once so that it cannot fail later.
    pub const CONNS: u32 = 262_144;
    /// Slots of the member lists for each destination: a list is written anew beside the old one before it replaces it.
    const MEMBERS_PER_DEST: u32 = 4;
    /// Interfaces whose address is known; others are trusted to filter by themselves.
    const INTERFACES: u32 = 4096;
}

/// Key of a service to its row.
pub type ServiceIndexMap = HashMap<MapData, [u8; 24], u32>;
/// Flow to connection.
pub type FlowMap = HashMap<MapData, [u8; 40], [u8; 8]>;
/// Free connection rows that were used before.
pub type FreeConnMap = Stack<MapData, u32>;
/// Statistics by destination and CPU: conns, in packets, in bytes, out packets, out bytes.
pub type StatsMap = PerCpuArray<MapData, [u64; 5]>;

/// The maps of a loaded data plane.
pub struct Maps {
    /// The configuration.
    pub config: SharedArray<ConfigRow>,
    /// The cursor.
    pub cursor: SharedArray<CursorRow>,
    /// See [`ServiceIndexMap`].
    pub service_index: ServiceIndexMap,
    /// Service rows.
    pub services: SharedArray<ServiceRow>,
    /// Destination rows.
    pub dests: SharedArray<DestRow>,
    /// Member lists.
    pub members: SharedArray<MemberRow>,
    /// See [`FlowMap`].
    pub flows: FlowMap,
    /// Connection rows.
    pub conns: SharedArray<ConnRow>,
    /// See [`FreeConnMap`].
    pub free_conns: FreeConnMap,
    /// See [`StatsMap`].
    pub stats: StatsMap,
}

/// The maps that other parts of the daemon use.
pub struct SideMaps {
    /// Counters by verdict and CPU.
    pub verdicts: PerCpuArray<MapData, u64>,
    /// Link-layer addresses by interface index.
    pub interfaces: HashMap<MapData, u32, [u8; 8]>,
    /// What the data plane wants to know of neighbours.
    pub neighbours: RingBuf<MapData>,
}

/// A loaded data plane: programs and maps.
pub struct DataPlane {
    /// Programs.
    pub programs: Ebpf,
    /// The tables.
    pub maps: Maps,
    /// The other maps.
    pub side: SideMaps,
}

/// Where the pins of the data plane of one network namespace stand.
pub fn maps_dir(root: &Path) -> PathBuf {
    root.join("maps")
}

/// Loads programs and maps. Maps pinned under `pins` are taken over as they are, with the sizes they have; others are made
/// and pinned there.
///
/// # Errors
/// Where the kernel refuses (rights, memory, verifier) or the pinned maps are of another version.
pub fn load(pins: Option<&Path>, sizes: Sizes) -> Result<DataPlane> {
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("SERVICE_INDEX", sizes.services)
        .map_max_entries("SERVICES", sizes.services)
        .map_max_entries("DESTS", sizes.dests)
        .map_max_entries("STATS", sizes.dests)
        .map_max_entries("MEMBERS", sizes.dests.saturating_mul(Sizes::MEMBERS_PER_DEST))
        .map_max_entries("CONNS", sizes.conns)
        .map_max_entries("FREE_CONNS", sizes.conns)
        .map_max_entries("FLOWS", sizes.conns.saturating_mul(2))
        .map_max_entries("INTERFACES", Sizes::INTERFACES);
    if let Some(pins) = pins {
        let dir = maps_dir(pins);
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        for name in PINNED {
            loader.map_pin_path(name, dir.join(name));
        }
    }
    let mut programs = loader.load(OBJECT).context("loading the eBPF object")?;
    let (maps, side) = take_maps(&mut programs).context("opening the maps")?;
    check_version(&maps)?;
    tc(&mut programs)?.load().context("loading the tc program")?;
    xdp(&mut programs, XDP_PROGRAM)?.load().context("loading the XDP program")?;
    xdp(&mut programs, CLOCK_PROGRAM)?.load().context("loading the clock program")?;
    Ok(DataPlane { programs, maps, side })
}

/// The tc program.
pub fn tc(programs: &mut Ebpf) -> Result<&mut SchedClassifier> {
    Ok(programs.program_mut(TC_PROGRAM).context("no tc program in the object")?.try_into()?)
}

/// An XDP program.
pub fn xdp<'p>(programs: &'p mut Ebpf, name: &str) -> Result<&'p mut Xdp> {
    Ok(programs.program_mut(name).with_context(|| format!("no program {name} in the object"))?.try_into()?)
}

/// Refuses maps that another version of rlvs left.
fn check_version(maps: &Maps) -> Result<()> {
    let config = maps.config.get(0).context("the configuration map is empty")?;
    match config.abi.load() {
        0 => config.abi.store(ABI),
        ABI => {}
        other => bail!("the loaded data plane has table layout {other}, this rlvsd {ABI}: run `rlvs unload` first"),
    }
    Ok(())
}

fn take_maps(object: &mut Ebpf) -> Result<(Maps, SideMaps)> {
    let mut take = |name: &str| object.take_map(name).with_context(|| format!("no map {name} in the object"));
    let maps = Maps {
        config: SharedArray::new(take("CONFIG")?).context("CONFIG")?,
        cursor: SharedArray::new(take("CURSOR")?).context("CURSOR")?,
        service_index: take("SERVICE_INDEX")?.try_into()?,
        services: SharedArray::new(take("SERVICES")?).context("SERVICES")?,
        dests: SharedArray::new(take("DESTS")?).context("DESTS")?,
        members: SharedArray::new(take("MEMBERS")?).context("MEMBERS")?,
        flows: take("FLOWS")?.try_into()?,
        conns: SharedArray::new(take("CONNS")?).context("CONNS")?,
        free_conns: take("FREE_CONNS")?.try_into()?,
        stats: take("STATS")?.try_into()?,
    };
    let side = SideMaps {
        verdicts: take("VERDICTS")?.try_into()?,
        interfaces: take("INTERFACES")?.try_into()?,
        neighbours: take("NEIGHBOURS")?.try_into()?,
    };
    Ok((maps, side))
}
