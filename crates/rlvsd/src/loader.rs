//! Loads the data plane: the object that is part of this program, its maps pinned so that they outlive the daemon.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader, TestRun,
    maps::{HashMap, MapData, PerCpuArray, RingBuf, Stack},
    programs::{SchedClassifier, TestRunOptions, Xdp},
};
use rlvs_core::rows::{ABI, ConfigRow, ConnRow, CursorRow, DestRow, MemberRow, ServiceRow};

use crate::maps::SharedArray;

/// The eBPF object: built by `cargo xtask bpf`, committed, the same on every machine.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/rlvs.bpf.o");

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

/// The maps of a loaded data plane.
pub struct Maps {
    /// The configuration.
    pub config: SharedArray<ConfigRow>,
    /// The cursor.
    pub cursor: SharedArray<CursorRow>,
    /// Key of a service to its row.
    pub service_index: HashMap<MapData, [u8; 24], u32>,
    /// Service rows.
    pub services: SharedArray<ServiceRow>,
    /// Destination rows.
    pub dests: SharedArray<DestRow>,
    /// Member lists.
    pub members: SharedArray<MemberRow>,
    /// Flow to connection.
    pub flows: HashMap<MapData, [u8; 40], [u8; 8]>,
    /// Connection rows.
    pub conns: SharedArray<ConnRow>,
    /// Free connection rows that were used before.
    pub free_conns: Stack<MapData, u32>,
    /// Statistics by destination and CPU: conns, in packets, in bytes, out packets, out bytes.
    pub stats: PerCpuArray<MapData, [u64; 5]>,
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
    /// Maps.
    pub maps: Maps,
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
    let maps = Maps::take(&mut programs).context("opening the maps")?;
    check_version(&maps)?;
    tc(&mut programs)?.load().context("loading the tc program")?;
    xdp(&mut programs, XDP_PROGRAM)?.load().context("loading the XDP program")?;
    xdp(&mut programs, CLOCK_PROGRAM)?.load().context("loading the clock program")?;
    Ok(DataPlane { programs, maps })
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

impl Maps {
    fn take(object: &mut Ebpf) -> Result<Self> {
        let mut take = |name: &str| object.take_map(name).with_context(|| format!("no map {name} in the object"));
        Ok(Self {
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
            verdicts: take("VERDICTS")?.try_into()?,
            interfaces: take("INTERFACES")?.try_into()?,
            neighbours: take("NEIGHBOURS")?.try_into()?,
        })
    }
}

/// The kernel's clocks, read at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Jiffies.
    pub jiffies: u64,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub monotonic_ns: u64,
}

impl Clocks {
    /// Reads them.
    ///
    /// # Errors
    /// Where the kernel refuses to run the program.
    pub fn read(program: &Xdp) -> io::Result<Self> {
        // The shortest frame that BPF_PROG_TEST_RUN takes is an Ethernet header; a minimal frame is as good.
        let frame = [0u8; 64];
        let mut answer = [0u8; 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.data_out = Some(&mut answer);
        program.test_run(options).map_err(io::Error::other)?;
        let word = |at: usize| -> u64 {
            answer[at..].first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes))
        };
        Ok(Self { jiffies: word(0), monotonic_ns: word(8) })
    }

    /// Jiffies per second of the running kernel.
    ///
    /// Jiffies begin five minutes before their 32-bit overflow and tick with CLOCK_MONOTONIC; of the values that a kernel
    /// can be built with, one fits.
    ///
    /// # Errors
    /// The ratio, where none does.
    pub fn hz(&self) -> Result<u32, f64> {
        let seconds = self.monotonic_ns as f64 / 1e9;
        let ratio = |hz: u32| {
            let begin = (1u64 << 32) - 300 * u64::from(hz);
            self.jiffies.wrapping_sub(begin) as f64 / seconds
        };
        [100, 250, 300, 1000]
            .into_iter()
            .find(|hz| (ratio(*hz) / f64::from(*hz) - 1.0).abs() < 0.05)
            .ok_or_else(|| ratio(1000))
    }
}
